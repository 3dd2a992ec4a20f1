"""Probing counts and times frames as ffprobe does, and says in the agreed words why a file is no video."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numbered_clips as clips
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.types import Source
from patchlake.tasks.video.decoder import Decoder, Limits
from patchlake.tasks.video.probe import Probed, is_variable_rate, probe_source


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def probe(decoder: Decoder, path: Path | bytes) -> Probed:
    return probe_source(Source(uri=uri_of(path), size=0, version=""), decoder=decoder)


def ffprobe(path: Path, stream: str, entries: str) -> dict[str, list[dict[str, Any]]]:
    what = ["-select_streams", stream, "-show_entries", entries, "-of", "json"]
    command = [clips.tool("ffprobe"), "-v", "error", *what, str(path)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told


def assert_as_ffprobe_says(found: Probed, path: Path) -> None:
    assert found.source.status == "ok", found.source
    video, index = found.video, found.index
    assert video is not None
    assert index is not None
    facts = "index,codec_name,width,height,sample_aspect_ratio,avg_frame_rate,time_base"
    streams = ffprobe(path, "v", f"stream={facts}")["streams"]
    stream = max(streams, key=lambda s: s["width"] * s["height"])  # as ffmpeg picks
    assert (video.codec, video.width, video.height) == (
        stream["codec_name"],
        stream["width"],
        stream["height"],
    )
    assert video.time_base == Fraction(stream["time_base"])
    assert video.sample_aspect == Fraction(stream.get("sample_aspect_ratio", "1:1").replace(":", "/"))
    assert abs(video.fps / Fraction(stream["avg_frame_rate"]) - 1) < 0.01

    told = ffprobe(path, str(stream["index"]), "frame=best_effort_timestamp:packet=pts,flags")
    frames = [entry for entry in told["packets_and_frames"] if entry["type"] == "frame"]
    packets = [entry for entry in told["packets_and_frames"] if entry["type"] == "packet" and "pts" in entry]
    assert video.num_frames == len(frames)
    if video.counted:  # ffprobe knows the times of some packets only; frames are evenly spaced
        assert {packet["pts"] for packet in packets} <= set(index.pts.tolist())
        assert len(set(np.diff(index.pts).tolist())) == 1
    else:
        assert index.pts.tolist() == [frame["best_effort_timestamp"] for frame in frames]
        keys = sorted(packet["pts"] for packet in packets if packet["flags"].startswith("K"))
        assert index.pts[index.key_rows].tolist() == keys


SYNTHETIC: dict[str, dict[str, Any]] = {
    "bframes.mp4": {"bframes": 2},
    "open_gop.mp4": {"bframes": 2, "open_gop": True},
    "bframes.mkv": {"bframes": 2},
    "vfr.mkv": {"bframes": 2, "times_ms": [i * 40 + (i % 3) * 13 for i in range(50)]},
    "ntsc.mov": {"fps": Fraction(30000, 1001), "sample_aspect": Fraction(4, 3)},
    "bframes.ts": {"bframes": 2},
    "bframes.avi": {"codec": "mpeg4", "bframes": 2},
    "h264.avi": {"bframes": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "raw.h264": {"bframes": 2},
}


@pytest.mark.parametrize("name", SYNTHETIC)
def test_times_of_rendered_clips_are_ffprobes(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = clips.render(tmp_path / name, num_frames=50, **SYNTHETIC[name])
    assert_as_ffprobe_says(probe(decoder, path), path)


@pytest.mark.shared_videos
def test_times_of_real_clips_are_ffprobes(decoder: Decoder) -> None:
    paths = sorted((clips.shared_videos() / "clips").iterdir())
    assert len(paths) >= 20
    for path in paths:
        assert_as_ffprobe_says(probe(decoder, path), path)


def test_facts_of_a_clip(decoder: Decoder, tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mp4", num_frames=30, fps=10, rotation=90, sample_aspect=Fraction(4, 3))
    video = probe(decoder, path).video
    assert video is not None
    assert video.video_id == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    assert (video.codec, video.pixel_format, video.has_audio) == ("h264", "yuv420p", False)
    assert (video.rotation, video.height, video.width) == (90, 128, 96)
    assert video.sample_aspect == Fraction(3, 4)  # upright
    assert (video.fps, video.num_frames, video.num_frames_from_header) == (10, 30, 30)
    assert (video.first_pts, video.counted) == (0, False)
    assert video.duration_seconds == video.duration_seconds_from_header == 3.0


def test_duration_ends_with_the_last_frames_own(decoder: Decoder, tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mkv", num_frames=4, times_ms=[1000, 1040, 1500, 1540])
    video = probe(decoder, path).video
    assert video is not None
    assert (video.first_pts, video.first_pts_seconds) == (1000, 1.0)
    assert video.duration_seconds == pytest.approx(0.58, abs=0.002)


def test_a_stream_joined_in_its_middle_begins_with_its_first_key_frame(decoder: Decoder, tmp_path: Path) -> None:
    whole = clips.render(tmp_path / "whole.ts", num_frames=40, bframes=2)
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    late = tmp_path / "late.ts"
    late.write_bytes(whole.read_bytes()[:376] + whole.read_bytes()[packets[5].pos :])
    found = probe(decoder, late)
    assert found.video is not None
    assert found.index is not None
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    assert found.index.pts.tolist() == times[12:]
    assert found.video.first_pts == times[12]
    assert found.index.key_rows[0] == 0


RATES = {
    "constant.mp4": ({"fps": Fraction(30000, 1001)}, False),
    "rounded.mkv": ({"fps": Fraction(30000, 1001)}, False),  # steps of 33 and 34 ms
    "rounded_b.mkv": ({"fps": 24, "bframes": 2}, False),
    "late.mkv": ({"times_ms": [1000 + i * 40 for i in range(30)]}, False),
    "dropped.mkv": ({"times_ms": [i * 40 for i in range(30) if i != 17]}, True),
    "slower.mkv": ({"times_ms": [i * 40 + max(0, i - 20) for i in range(30)]}, True),
    "one_late.mkv": ({"times_ms": [i * 40 + 3 * (i == 9) for i in range(30)]}, True),
    "two.mkv": ({"times_ms": [0, 700]}, False),
}


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_variable_where_no_constant_one_gives_the_times(decoder: Decoder, tmp_path: Path, name: str) -> None:
    options, is_variable = RATES[name]
    path = clips.render(tmp_path / name, num_frames=len(options.get("times_ms", range(50))), **options)
    video = probe(decoder, path).video
    assert video is not None
    assert video.variable_rate is is_variable


@settings(max_examples=200, deadline=None)
@given(
    step=st.fractions(Fraction(1), Fraction(5000), max_denominator=1001),
    start=st.fractions(Fraction(-100), Fraction(10**9), max_denominator=7),
    num_frames=st.integers(1, 500),
    late=st.integers(0, 499),
)
def test_any_constant_rate_rounded_to_the_time_base_is_constant(
    step: Fraction, start: Fraction, num_frames: int, late: int
) -> None:
    exact = [start + i * step for i in range(num_frames)]
    for rounded in (round, math.floor):
        pts = np.array([rounded(time) for time in exact], np.int64)
        assert not is_variable_rate(pts)
        if 0 < late < num_frames - 1:
            pts[late] += 4
            assert is_variable_rate(pts)


def test_container_and_number_of_streams(decoder: Decoder, tmp_path: Path) -> None:
    names = {"a.mp4": "mov,mp4,m4a,3gp,3g2,mj2", "a.mkv": "matroska,webm", "a.avi": "avi", "a.h264": "h264"}
    for name, container in names.items():
        video = probe(decoder, clips.render(tmp_path / name, num_frames=5, options={}, gop=2)).video
        assert video is not None
        assert (video.container, video.num_video_streams, video.has_audio) == (container, 1, False)
    video = probe(decoder, _two_and_sound(tmp_path / "two.mkv")).video
    assert video is not None
    assert (video.num_video_streams, video.has_audio) == (2, True)


def _two_and_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        for width, height in ((32, 24), (64, 48)):
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height = width, height
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for stream in container.streams.video:
            frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux([*stream.encode(frame), *stream.encode(None)])
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        tone.sample_rate = 8000
        container.mux([*sound.encode(tone), *sound.encode(None)])
    return path


def test_too_many_frames_or_too_long_a_time_are_refused(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mp4", num_frames=50, bframes=2)
    caps: list[tuple[dict[str, Any], str]] = [
        ({"max_frames": 50}, "ok"), ({"max_frames": 49}, "too_large"),
        ({"max_seconds": 49 / 25}, "ok"), ({"max_seconds": 48.9 / 25}, "too_large"),
    ]  # fmt: skip
    for limits, verdict in caps:
        decoder = Decoder(Limits(**limits))
        found = probe(decoder, path).source
        decoder.close()
        assert verdict in (found.status, found.reason), limits
        if verdict == "too_large":
            assert (found.status, str(next(iter(limits.values()))) in found.message) == ("rejected", True), found


def _cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def _header_only(path: Path) -> Path:
    clips.render(path, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    return _write(path, data[: data.index(b"mdat") + 4])


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


REJECTED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "empty.mp4": ("empty", lambda path: _write(path, b"")),
    "text.mp4": ("not_video", lambda path: _write(path, b"what a movie this was\n" * 99)),
    "random.mp4": ("not_video", lambda path: _write(path, np.random.default_rng(7).bytes(20_000))),
    "picture.mp4": ("not_video", lambda path: _write(path, b"\x89PNG\r\n\x1a\n" + bytes(99))),
    "list.m3u8": ("not_video", lambda path: _write(path, b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")),
    "late_index.mp4": ("unreadable", lambda path: _cut(clips.render(path), 0.7)),
    "few_bytes.mkv": ("unreadable", lambda path: _cut(clips.render(path), 0.01)),
    "sound.mp4": ("no_video_stream", _sound),
    "header_only.mp4": ("no_frames", _header_only),
    "codec.avi": (
        "unsupported_codec",
        lambda path: clips.render(path, codec="magicyuv", pixel_format="gbrp"),
    ),
    "folder.mp4": ("not_video", _folder),
    "loop.mp4": ("symlink_loop", _loop),
    "gone.mp4": ("missing", lambda path: path),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_no_video_is_rejected_with_a_reason(decoder: Decoder, tmp_path: Path, name: str) -> None:
    reason, make = REJECTED[name]
    found = probe(decoder, make(tmp_path / name))
    assert (found.source.status, found.source.reason) == ("rejected", reason)
    assert len(found.source.message) > 10
    assert found.video is None
    assert found.index is None


def test_too_many_pixels_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mp4", num_frames=2, size=(96, 128))
    decoder = Decoder(Limits(max_pixels=96 * 128 - 1))
    found = probe(decoder, path)
    decoder.close()
    assert (found.source.status, found.source.reason) == ("rejected", "too_large")
    assert "128x96" in found.source.message


def test_a_file_without_permission_is_unreadable(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:  # tests may run as root, who may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    found = probe(decoder, tmp_path / "a.mp4")
    assert (found.source.status, found.source.reason) == ("rejected", "unreadable")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_cut_file_is_partial_and_holds_what_it_holds(decoder: Decoder, tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = clips.render(tmp_path / name, num_frames=60, codec=codec, container_options=options)
    whole = probe(decoder, path)
    assert whole.source.status == "ok"
    found = probe(decoder, _cut(path, 0.6))
    assert (found.source.status, found.source.reason) == ("partial", "truncated")
    assert found.video is not None
    assert found.index is not None
    assert whole.index is not None
    assert 20 < found.video.num_frames < 45
    assert found.index.pts.tolist() == whole.index.pts[: found.video.num_frames].tolist()


def test_a_dead_decoder_fails_the_source_and_does_not_reject_it(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mp4")
    decoder = Decoder(Limits(memory_bytes=60 << 20))
    found = probe(decoder, path)
    assert (found.source.status, found.source.reason) == ("failed", "memory")


@pytest.mark.shared_videos
def test_nasty_files_get_the_agreed_verdicts(decoder: Decoder, tmp_path: Path) -> None:
    with tarfile.open(clips.shared_videos() / "nasty.tar") as tar:
        tar.extractall(tmp_path, filter="fully_trusted")
    folder = tmp_path / "nasty-dev"
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    num_judged = 0
    for row in rows:
        path = os.path.join(bytes(folder), bytes.fromhex(row["path_hex"]) if row["path_hex"] else row["path"].encode())
        accepted = row["accepts"].split("|")
        if accepted == ["none"]:
            continue
        source = probe(decoder, path).source
        verdicts = {source.status, f"{source.status}:{source.reason}"}
        decided_later = {
            "duplicate",
            "partial:corrupt",
            "rejected:resolution_change",
            "partial:resolution_change",
        }
        assert verdicts & set(accepted) or (source.status == "ok" and decided_later & set(accepted)), (
            row,
            source,
        )
        num_judged += 1
    assert num_judged > 40
