"""S3 objects are read by ranges as files are; what the store does not give is told from what the object is not."""

from __future__ import annotations

import io
import os
import pickle
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numbered_clips as clips
import numpy as np
import obstore
import pytest
from object_store import BUCKET, metered, put
from obstore.store import S3Store

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage import objects
from patchlake.tasks.storage.object_file import FIRST_BYTES, MOST_BYTES, ObjectFile
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.storage.uris import object_uri, uri_of
from patchlake.tasks.types import Geometry, Source
from patchlake.tasks.video import demux
from patchlake.tasks.video.decoder import Decoder, DecodeRequest
from patchlake.tasks.video.probe import Probed, probe_source


@pytest.fixture
def store(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return S3Store(BUCKET, client_options={"allow_http": True})


@pytest.fixture
def decoder(store: S3Store) -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 MB in 85 frames, each a key frame."""
    path = tmp_path_factory.mktemp("large") / "large.mov"
    return clips.render(path, num_frames=85, size=(480, 640), codec="rawvideo", pixel_format="uyvy422")


def upload(store: S3Store, key: str, data: bytes) -> str:
    obstore.put(store, key, data)
    return object_uri(BUCKET, key)


def probe(decoder: Decoder, uri: str) -> Probed:
    return probe_source(Source(uri=uri, size=0, version=""), decoder=decoder)


def request(uri: str, probed: Probed, start: int, stop: int) -> DecodeRequest:
    """Ask for frames [start, stop) at a quarter of their size."""
    video, index = probed.video, probed.index
    assert video is not None
    assert index is not None
    key = index.key_rows[index.key_rows <= start][-1]
    size = (video.height // 4, video.width // 4)
    geometry = Geometry(
        rotation=video.rotation, crop=(0, 0, video.width, video.height), scaled=size, pad=(0, 0), size=size
    )
    return DecodeRequest(
        uri=uri, geometry=geometry, time_base=video.time_base, first_pts=video.first_pts, counted=video.counted,
        seek_pts=int(index.pts[key]), pts_lo=int(index.pts[start]),
        pts_hi=int(index.pts[stop]) if stop < len(index.pts) else None,
    )  # fmt: skip


def frames(decoder: Decoder, asked: DecodeRequest) -> np.ndarray:
    return np.concatenate([block.frames.copy() for block in decoder.frames(asked)])


def test_an_object_reads_as_its_bytes_do(store: S3Store) -> None:
    data = np.random.default_rng(3).bytes(3 * MOST_BYTES + 12_345)
    file = ObjectFile(upload(store, "bytes.bin", data))
    assert (file.size, file.tell()) == (len(data), 0)
    choose = random.Random(5)
    at = 0
    for _ in range(200):
        if choose.random() < 0.5:
            at = choose.randrange(len(data) + 10)
            assert file.seek(*choose.choice([(at,), (at, 0), (at - len(data), 2), (at - file.tell(), 1)])) == at
        num_bytes = choose.choice([0, 1, 1000, 32_768, 300_000, 2 * MOST_BYTES])
        part = file.read(num_bytes)
        assert type(part) is bytes
        assert part == data[at : at + num_bytes]
        at = min(at + num_bytes, max(at, len(data)))
        assert file.tell() == at


def test_ranges_grow_while_reading_goes_on_and_start_small_elsewhere(store: S3Store) -> None:
    data = bytes(40 * FIRST_BYTES)
    calls: list[int] = []
    file = ObjectFile(upload(store, "zeros.bin", data), on_read=lambda: calls.append(file.tell()))
    for _ in range(16):
        file.read(FIRST_BYTES)
    assert [at // FIRST_BYTES for at in calls] == [0, 1, 3, 7, 15]
    file.seek(-100, os.SEEK_END)
    assert len(calls) == 5
    file.read(1000)
    file.seek(16 * FIRST_BYTES)
    file.read(10)
    assert len(calls) == 6  # what was fetched before is still there


def test_an_empty_object_holds_nothing(store: S3Store, decoder: Decoder) -> None:
    uri = upload(store, "empty.mp4", b"")
    assert ObjectFile(uri).read(10) == b""
    assert (found := probe(decoder, uri).source).reason == "empty", found


SYNTHETIC = {
    "b frames.mp4": {"bframes": 2}, "🎬 é%41.mkv": {"bframes": 2}, "mpeg4.avi": {"codec": "mpeg4"},
    "raw.h264": {"bframes": 2}, "quote'\"&;.ts": {"bframes": 2}, "turned.mov": {"rotation": 90}, "counted.avi": {},
}  # fmt: skip


@pytest.mark.parametrize("name", SYNTHETIC)
def test_objects_give_what_files_give(store: S3Store, decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = clips.render(tmp_path / name, num_frames=40, **SYNTHETIC[name])
    remote_uri = upload(store, f"same/{name}", path.read_bytes())
    local, remote = probe(decoder, uri_of(path)), probe(decoder, remote_uri)
    assert local.source.status == "ok"
    assert remote.source == replace(local.source, uri=remote_uri)
    assert remote.video == local.video
    assert local.index is not None
    assert remote.index is not None
    assert remote.index.pts.tolist() == local.index.pts.tolist()
    assert remote.index.key_rows.tolist() == local.index.key_rows.tolist()
    for start, stop in ((0, 40), (17, 30)):
        there = frames(decoder, request(remote_uri, remote, start, stop))
        assert len(there) == stop - start
        assert np.array_equal(there, frames(decoder, request(uri_of(path), local, start, stop)))


@pytest.mark.shared_videos
def test_real_clips_give_the_same_from_a_store(store: S3Store, decoder: Decoder) -> None:
    paths = sorted((clips.shared_videos() / "clips").iterdir(), key=lambda path: path.stat().st_size)[:6]
    for path in paths:
        uri = upload(store, f"real/{path.name}", path.read_bytes())
        local, remote = probe(decoder, uri_of(path)), probe(decoder, uri)
        assert remote.video == local.video
        assert local.video is not None
        stop = min(20, local.video.num_frames)
        there, here = (frames(decoder, request(u, p, 5, stop)) for u, p in ((uri, remote), (uri_of(path), local)))
        assert np.array_equal(there, here)


def test_a_cut_object_is_as_partial_as_a_cut_file(store: S3Store, decoder: Decoder, tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    for name in ("a.mp4", "a.mkv"):
        path = clips.render(tmp_path / name, num_frames=60, container_options=options if name == "a.mp4" else {})
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        found = probe(decoder, upload(store, f"cut/{name}", path.read_bytes()))
        assert (found.source.status, found.source.reason) == ("partial", "truncated")
        assert found.source.message == probe(decoder, uri_of(path)).source.message


REJECTED = {
    "text.mp4": (b"what a movie this was\n" * 99, "not_video"),
    "list.m3u8": (b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "not_video"),
    "cut.mp4": (b"\0\0\0\x18ftypmp42" + bytes(500), "unreadable"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_no_video_is_rejected_as_files_are(store: S3Store, decoder: Decoder, name: str) -> None:
    data, reason = REJECTED[name]
    found = probe(decoder, upload(store, f"bad/{name}", data)).source
    assert (found.status, found.reason) == ("rejected", reason)


def test_a_missing_object_is_missing(store: S3Store, decoder: Decoder) -> None:
    for uri in ("s3://lakes/nowhere.mp4", "s3://no-such-bucket/a.mp4"):
        found = probe(decoder, uri).source
        assert (found.status, found.reason) == ("rejected", "missing")
    with pytest.raises(DecodeError) as caught:
        decoder.probe("s3://lakes/nowhere.mp4")
    assert caught.value.reason == "missing"


def test_an_object_that_names_another_file_opens_no_other(
    store: S3Store, decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = clips.render(tmp_path / "other.mp4", num_frames=5)
    script = f"ffconcat version 1.0\nfile '{other}'\n".encode()
    with av.open(io.BytesIO(script), options={"safe": "0"}) as container:  # what FFmpeg does when it is let
        assert container.streams.video[0].width == 128
    uri = upload(store, "script.mp4", script)
    found = probe(decoder, uri).source
    assert (found.status, found.reason) == ("rejected", "not_video")
    monkeypatch.setattr(demux, "FORMATS", demux.FORMATS + ",concat")  # a format that can: then no protocol is there
    monkeypatch.setattr(demux.av, "open", lambda file, mode, options, **more: _open(file, options, more))
    with pytest.raises(demux.Refused, match="no container format"):
        demux.open_video(uri, 10**6, 1, for_index=True, beat=lambda: None)


def _open(file: ObjectFile, options: dict[str, str], more: dict[str, str], open: Any = av.open) -> Any:
    return open(file, options={**options, "safe": "0"}, **more)


def test_a_store_that_is_away_or_denies_fails_the_source(
    store: S3Store, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(store, "fine.mp4", b"anything")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        denied = probe(decoder, uri).source
    with monkeypatch.context() as patch:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        away = probe(decoder, uri).source
        with pytest.raises(Unreachable) as caught:
            objects.head(uri)
    assert (denied.status, denied.reason) == ("failed", "unreadable")
    assert (away.status, away.reason) == ("failed", "unreadable")
    assert uri in denied.message
    assert "denies access" in denied.message
    assert "store failed" in away.message
    assert caught.value.is_away
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is Unreachable
    assert (again.message, again.reason, again.is_away) == (caught.value.message, "unreadable", True)


def test_a_store_that_goes_away_in_the_middle_fails_the_request_and_says_so(
    store: S3Store, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, large: Path
) -> None:
    uri = upload(store, "large.mov", large.read_bytes())
    with metered(s3["AWS_ENDPOINT_URL"]) as meter:
        monkeypatch.setenv("AWS_ENDPOINT_URL", meter.url)
        decoder = Decoder()
        try:
            asked = request(uri, probe(decoder, uri), 0, 85)
            blocks = decoder.frames(asked)
            next(blocks)
            meter.shut()
            with pytest.raises(Unreachable, match="store failed"):
                for _ in blocks:
                    pass
            pid = decoder.pid
            with pytest.raises(Unreachable):
                decoder.probe(uri)
            assert decoder.pid == pid  # the child is well, and knows nothing of the failure before
            local = uri_of(large)
            assert len(frames(decoder, request(local, probe(decoder, local), 0, 9))) == 9
        finally:
            decoder.close()


def test_an_object_that_changes_while_it_is_read_is_no_mixture(store: S3Store) -> None:
    uri = upload(store, "changing.bin", bytes(10 * FIRST_BYTES))
    file = ObjectFile(uri)
    file.read(10)
    upload(store, "changing.bin", b"\1" * 10 * FIRST_BYTES)
    assert file.read(10) == bytes(10)
    with pytest.raises(Unreachable, match="changed"):
        file.read(FIRST_BYTES)
    assert ObjectFile(uri).read(2) == b"\1\1"
    upload(store, "changing.bin", bytes(10 * FIRST_BYTES))
    with pytest.raises(Unreachable, match="changed"):  # a failure is final
        file.read(FIRST_BYTES)
    assert ObjectFile(uri).read(2) == bytes(2)


def test_decoding_a_part_of_a_large_object_transfers_a_small_part_of_it(
    store: S3Store, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, large: Path
) -> None:
    num_bytes = large.stat().st_size
    assert num_bytes > 50_000_000
    uri = upload(store, "large.mov", large.read_bytes())
    decoder = Decoder()
    with metered(s3["AWS_ENDPOINT_URL"]) as meter:
        monkeypatch.setenv("AWS_ENDPOINT_URL", meter.url)
        try:
            probed = probe(decoder, uri)
            assert 2 * num_bytes < meter.num_bytes < 2.2 * num_bytes  # once for the hash, once for the packets
            meter.num_bytes = 0
            part = frames(decoder, request(uri, probed, 60, 64))
            assert 4 * 480 * 640 < meter.num_bytes < num_bytes / 10
            assert clips.numbers_of(part) == [60, 61, 62, 63]
            status = Path(f"/proc/{decoder.pid}/status").read_text().split()
            peak_bytes = int(status[status.index("VmHWM:") + 1]) * 1024
        finally:
            decoder.close()
    local = Decoder()
    try:
        probe(local, uri_of(large))
        frames(local, request(uri_of(large), probed, 60, 64))
        status = Path(f"/proc/{local.pid}/status").read_text().split()
        more_bytes = peak_bytes - int(status[status.index("VmHWM:") + 1]) * 1024
        assert more_bytes < 0.8 * num_bytes, "obstore's own 20 MB and a few ranges, never the object"
    finally:
        local.close()


def test_hashing_a_large_object_takes_little_memory(store: S3Store, large: Path) -> None:
    uri = upload(store, "large.mov", large.read_bytes())
    script = f"""
import resource
from patchlake.tasks.storage import objects
from patchlake.tasks.video import probe
objects.head({uri!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(probe.content_hash({uri!r}), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    from patchlake.tasks.video.probe import content_hash

    assert told[0] == content_hash(uri_of(large))
    assert int(told[1]) < large.stat().st_size * 0.8


def test_all_keys_below_a_prefix_are_listed_whatever_they_are(store: S3Store, s3: dict[str, str]) -> None:
    for i in range(3):
        upload(store, f"plain/{i}.mp4", bytes(i))
    upload(store, "plainer/a.mp4", b"")
    plain = objects.list_prefix(BUCKET, "plain")
    assert plain == {f"plain/{i}.mp4": objects.head(f"s3://{BUCKET}/plain/{i}.mp4") for i in range(3)}
    assert [known and known[0] for known in plain.values()] == [0, 1, 2]
    keys = ["odd/two\nlines.mp4", "odd/x//y.mp4", "odd/d/../e.mp4", "odd/tab\t.mp4", "odd/ok.mp4"]
    for key in keys:
        put(s3, key, key.encode())
    assert objects.list_prefix(BUCKET, "odd") == dict.fromkeys(keys)
    assert objects.list_prefix(BUCKET, "nothing/here") == {}


def test_reading_objects_leaves_the_child_within_its_caps(store: S3Store, tmp_path: Path) -> None:
    """obstore brings threads and buffers: under the default address space cap they must fit with room to spare."""
    path = clips.render(tmp_path / "a.mp4", num_frames=20)
    uri = upload(store, "a.mp4", path.read_bytes())
    decoder = Decoder()
    try:
        assert probe(decoder, uri).source.status == "ok"
        limits = Path(f"/proc/{decoder.pid}/limits").read_text()
        status = Path(f"/proc/{decoder.pid}/status").read_text().split()
    finally:
        decoder.close()
    (files,) = [line.split() for line in limits.splitlines() if line.startswith("Max file size")]
    assert files[3:5] == ["0", "0"]
    assert int(status[status.index("VmPeak:") + 1]) * 1024 < decoder.limits.memory_bytes / 2


def test_local_work_does_not_load_the_object_store(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mp4", num_frames=5)
    decoder = Decoder()
    try:
        assert probe(decoder, uri_of(path)).source.status == "ok"
        assert "obstore" not in Path(f"/proc/{decoder.pid}/maps").read_text()
    finally:
        decoder.close()
