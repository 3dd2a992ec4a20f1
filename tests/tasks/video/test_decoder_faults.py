"""What happens to the decoding child costs one video: the error says why, and the next request works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numbered_clips as clips
import pytest

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.types import Geometry
from patchlake.tasks.video.decoder import Decoder, DecodeRequest, Limits, get_decoder

SMALL = Limits(stall_seconds=20.0, slots=2, slot_rows=4, slot_bytes=1 << 20)
"""The child can run 8 frames ahead, so that it is in the middle of a video when something is done to it."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.render(tmp_path_factory.mktemp("clips") / "a.mp4", num_frames=200, bframes=2)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(SMALL)
    yield decoder
    decoder.close()


def request(path: Path, size: tuple[int, int] = (96, 128)) -> DecodeRequest:
    geometry = Geometry(rotation=0, crop=(0, 0, 128, 96), scaled=size, pad=(0, 0), size=size)
    return DecodeRequest(uri=uri_of(path), geometry=geometry, time_base=Fraction(1, 12800), first_pts=0, pts_lo=0)


def assert_works(decoder: Decoder, clip: Path) -> None:
    seen = [number for frames, _ in decoder.frames(request(clip)) for number in clips.numbers_of(frames)]
    assert seen == list(range(200))


def test_a_killed_child_is_a_crash_seen_at_once(decoder: Decoder, clip: Path) -> None:
    reading = decoder.frames(request(clip))
    next(reading)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(DecodeError, match="SIGKILL") as caught:
        list(reading)
    assert caught.value.reason == "crash"
    assert time.monotonic() - start < 10, "not by the stall limit"
    assert_works(decoder, clip)


def test_a_stopped_child_is_a_timeout_at_the_stall_limit(decoder: Decoder, clip: Path) -> None:
    decoder.limits = replace(SMALL, stall_seconds=2.0)
    reading = decoder.frames(request(clip))
    next(reading)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(DecodeError, match="no sign of life") as caught:
        list(reading)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - start > 1.9
    decoder.limits = SMALL
    assert_works(decoder, clip)


def test_a_slow_reader_is_no_stall(clip: Path) -> None:
    decoder = Decoder(Limits(stall_seconds=2.0, wall_seconds=2.5, slots=2, slot_rows=100))
    num_rows = 0
    for block in decoder.frames(request(clip)):
        time.sleep(2.6 if not num_rows else 0)
        num_rows += len(block.frames)
    assert decoder.summary is not None
    assert (decoder.summary.num_rows, decoder.summary.reason) == (num_rows, None)
    assert num_rows > 0
    decoder.close()


def test_the_wall_limit_ends_a_request_that_goes_on_and_on(clip: Path) -> None:
    decoder = Decoder(Limits(wall_seconds=0.02))
    with pytest.raises(DecodeError, match=r"did not end for 0\.02 s") as caught:
        decoder.bare(request(clip))
    assert caught.value.reason == "timeout"
    assert decoder.pid is None


def test_a_child_that_died_between_requests_costs_nothing(decoder: Decoder, clip: Path) -> None:
    assert_works(decoder, clip)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGKILL)
    assert_works(decoder, clip)


def test_a_reader_that_stops_half_way_leaves_no_stale_frames(decoder: Decoder, clip: Path) -> None:
    reading = decoder.frames(request(clip))
    next(reading)
    before = decoder.pid
    reading.close()  # type: ignore[attr-defined]
    assert_works(decoder, clip)
    assert decoder.pid != before


def test_one_child_serves_many_requests_and_is_replaced_in_time(clip: Path) -> None:
    decoder = Decoder(Limits(videos_per_child=3))
    pids = []
    for _ in range(7):
        decoder.probe(str(clip))
        pids.append(decoder.pid)
    decoder.close()
    assert [pid is None for pid in pids] == [False, False, True, False, False, True, False]
    assert len({pid for pid in pids if pid}) == 3


def test_the_memory_cap_is_named(tmp_path: Path, clip: Path) -> None:
    large = clips.render(tmp_path / "large.mp4", num_frames=4, size=(4096, 4096), options={"qp": "40"})
    decoder = Decoder(replace(SMALL, memory_bytes=256 << 20))
    with pytest.raises(DecodeError, match=r"cap of 0\.25 GiB") as caught:
        decoder.bare(request(large))
    assert caught.value.reason == "memory"
    assert decoder.bare(request(clip)).num_rows == 200
    decoder.close()


def test_a_child_that_cannot_even_start_says_so() -> None:
    decoder = Decoder(Limits(memory_bytes=60 << 20))
    with pytest.raises(DecodeError) as caught:
        decoder.probe("/dev/null")
    assert caught.value.reason in ("memory", "crash")


def test_a_script_that_names_another_file_opens_none(decoder: Decoder, tmp_path: Path, clip: Path) -> None:
    script = tmp_path / "upload.mp4"
    other = tmp_path / "secret.mp4"
    script.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    os.link(clip, other)
    with av.open(str(script)) as container:  # the trap is real: FFmpeg follows the script
        assert sum(1 for _ in container.decode(video=0)) == 200
    other.unlink()
    os.mkfifo(other)  # opening it would hang
    with pytest.raises(DecodeError, match="no container format") as caught:
        decoder.probe(str(script))
    assert caught.value.reason == "not_video"


@pytest.mark.parametrize("busy", [False, True])
def test_the_child_goes_with_its_parent(clip: Path, busy: bool) -> None:
    code = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from test_decoder_faults import *
decoder = Decoder(SMALL)
decoder.probe({str(clip)!r})
reading = decoder.frames(request(Path({str(clip)!r})))
{"next(reading)" if busy else ""}
print(decoder.pid, flush=True)
time.sleep(60)
"""
    here = str(Path(__file__).parent)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=here)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 2
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not is_running(child)
    parent.stdout.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_the_child_outlives_the_thread_that_first_asked(clip: Path) -> None:
    decoder = get_decoder()
    asking = threading.Thread(target=decoder.probe, args=(str(clip),))
    asking.start()
    asking.join()
    time.sleep(0.1)
    assert decoder.pid is not None
    assert is_running(decoder.pid)
    assert get_decoder() is decoder
    decoder.close()


WATCHER = """
import sys
from fractions import Fraction
import numbered_clips as clips
from patchlake.tasks.types import Geometry
from patchlake.tasks.video.decoder import Decoder, DecodeRequest, Limits

geometry = Geometry(rotation=0, crop=(0, 0, 128, 96), scaled=(96, 128), pad=(0, 0), size=(96, 128))
wanted = DecodeRequest(uri=sys.argv[1], geometry=geometry, time_base=Fraction(1, 12800), first_pts=0, pts_lo=0)
decoder = Decoder(Limits(stall_seconds=3.0, slots=2, slot_rows=4, slot_bytes=1 << 20))
reading = decoder.frames(wanted)
seen = clips.numbers_of(next(reading)[0])
print(decoder.pid, flush=True)
sys.stdin.readline()
for frames, _ in reading:
    seen += clips.numbers_of(frames)
assert seen == list(range(200))
print("whole", flush=True)
"""


def test_a_stop_of_the_whole_run_condemns_no_video(clip: Path) -> None:
    """Ctrl-Z and `fg`: the watcher is awake before the child, and finds that its wait is long over."""
    support = Path(clips.__file__).parent
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, uri_of(clip)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": f"{support}:{os.environ.get('PYTHONPATH', '')}"},
    ) as watcher:  # fmt: skip
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        child = int(watcher.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        watcher.stdin.write("go on\n")
        watcher.stdin.flush()
        time.sleep(1)  # it reads what is there, then waits for the child
        watcher.send_signal(signal.SIGSTOP)
        time.sleep(4)
        watcher.send_signal(signal.SIGCONT)
        time.sleep(1)
        os.kill(child, signal.SIGCONT)
        assert watcher.stdout.readline() == "whole\n"
