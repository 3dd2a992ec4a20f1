"""Decoding gives each frame once, in order, wherever it starts, put on the frame grid as was asked."""

from __future__ import annotations

import math
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.filter
import numbered_clips as clips
import numpy as np
import numpy.typing as npt
import pytest

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.types import FrameIndex, Geometry, Source, Video
from patchlake.tasks.video.decoder import Decoder, DecodeRequest, Limits
from patchlake.tasks.video.probe import probe_source

VFR_MS = [i * 40 + (i % 3) * 13 + 500 * (i > 20) for i in range(50)]
KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "bframes.mp4": {"bframes": 2},
    "open_gop.mp4": {"bframes": 2, "open_gop": True},
    "bframes.mkv": {"bframes": 3},
    "vfr.mkv": {"bframes": 2, "times_ms": VFR_MS},
    "bframes.ts": {"bframes": 2},
    "mpeg2.ts": {"codec": "mpeg2video", "bframes": 2},
    "hevc.mp4": {"codec": "libx265", "bframes": 2, "options": {"x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "bframes.avi": {"codec": "mpeg4", "bframes": 2},
    "h264.avi": {"bframes": 2},
    "vp8.webm": {"codec": "libvpx"},
    "raw.h264": {"bframes": 2},
}


class Known(NamedTuple):
    """A rendered clip and what probing told of it."""

    path: Path
    video: Video
    index: FrameIndex


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(Limits(slot_rows=16))
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def known(decoder: Decoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Known]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: know(decoder, clips.render(folder / name, num_frames=50, **how)) for name, how in KINDS.items()}


def know(decoder: Decoder, path: Path) -> Known:
    probed = probe_source(Source(uri=uri_of(path), size=0, version=""), decoder=decoder)
    assert probed.video is not None, probed.source
    assert probed.index is not None
    return Known(path, probed.video, probed.index)


def whole(video: Video, size: tuple[int, int] = (48, 64)) -> Geometry:
    crop = (0, 0, video.width, video.height)
    return Geometry(rotation=video.rotation, crop=crop, scaled=size, pad=(0, 0), size=size)


def request(clip: Known, **changes: Any) -> DecodeRequest:
    video = clip.video
    plain = DecodeRequest(
        uri=uri_of(clip.path),
        geometry=whole(video),
        time_base=video.time_base,
        first_pts=video.first_pts,
        counted=video.counted,
        pts_lo=video.first_pts,
        source_size=(video.height, video.width),
    )
    return replace(plain, **changes)


def read(decoder: Decoder, asked: DecodeRequest) -> tuple[npt.NDArray[np.uint8], list[int]]:
    blocks = [(frames.copy(), pts.tolist()) for frames, pts in decoder.frames(asked)]
    frames = [block for block, _ in blocks] or [np.empty((0, *asked.geometry.size, 3), np.uint8)]
    return np.concatenate(frames), [pts for _, some in blocks for pts in some]


@pytest.mark.parametrize("name", KINDS)
def test_each_frame_comes_once_in_order(decoder: Decoder, known: dict[str, Known], name: str) -> None:
    clip = known[name]
    frames, pts = read(decoder, request(clip))
    assert clips.numbers_of(frames) == list(range(50))
    assert pts == clip.index.pts.tolist()
    assert decoder.summary is not None
    assert (decoder.summary.num_rows, decoder.summary.num_decoded, decoder.summary.reason) == (50, 50, None)


@pytest.mark.parametrize("name", KINDS)
def test_each_start_gives_the_bytes_of_reading_from_the_files_start(
    decoder: Decoder, known: dict[str, Known], name: str
) -> None:
    clip = known[name]
    times = clip.index.pts.tolist()
    every, _ = read(decoder, request(clip))
    keys = clip.index.pts[clip.index.key_rows]
    redecoded = []
    for row in range(50):
        stop = min(row + 3, 50)
        seek = None if clip.video.counted else int(keys[keys <= times[row]][-1])
        high = times[stop] if stop < 50 else None
        frames, pts = read(decoder, request(clip, pts_lo=times[row], pts_hi=high, seek_pts=seek))
        assert pts == times[row:stop]
        np.testing.assert_array_equal(frames, every[row:stop], err_msg=f"from row {row}")
        assert decoder.summary is not None
        redecoded.append(decoder.summary.num_redecoded)
    if not clip.video.counted and name.endswith(("mp4", "mkv")):
        assert max(redecoded) < 24  # seeking works: less than two groups of 12 pictures, where from the start 49


@pytest.mark.shared_videos
def test_what_x264_says_once_is_heard_before_seeking(decoder: Decoder) -> None:
    """FFmpeg decodes 4:4:4 of x264 builds up to 150 in another way, and only the first frame names the build.

    A stream that differs can't be made with today's x264; for other streams the test above is the twin.
    """
    clip = know(decoder, clips.shared_videos() / "clips" / "mouse_openfield_2330f.mp4")
    first = int(clip.index.key_rows[1])
    start, stop = int(clip.index.pts[first]), int(clip.index.pts[first + 8])
    every, _ = read(decoder, request(clip, pts_lo=start, pts_hi=stop))
    frames, _ = read(decoder, request(clip, pts_lo=start, pts_hi=stop, seek_pts=start))
    np.testing.assert_array_equal(frames, every)


@pytest.mark.parametrize("fps", [Fraction(2), Fraction(10), Fraction(24000, 1001), Fraction(25), Fraction(60)])
@pytest.mark.parametrize("name", ["vfr.mkv", "bframes.mp4", "bframes.avi"])
def test_grid_rows_show_the_last_frame_at_or_before_their_time(
    decoder: Decoder, known: dict[str, Known], name: str, fps: Fraction
) -> None:
    clip = known[name]
    times = clip.index.pts.tolist()
    seconds = [(pts - times[0]) * clip.video.time_base for pts in times]
    last = math.ceil(Fraction(clip.video.duration_seconds).limit_denominator(10**6) * fps)
    expected = [max(row for row, second in enumerate(seconds) if second <= k / fps) for k in range(last)]
    for first in (0, last // 2):
        low = times[expected[first]]
        keys = clip.index.pts[clip.index.key_rows]
        seek = None if clip.video.counted else int(keys[keys <= low][-1])
        grid = (fps.numerator, fps.denominator, first, last)
        frames, pts = read(decoder, request(clip, pts_lo=low, seek_pts=seek, grid=grid))
        assert clips.numbers_of(frames) == expected[first:]
        assert pts == [times[row] for row in expected[first:]]
        assert decoder.summary is not None
        assert decoder.summary.reason is None


def test_grid_rows_past_the_end_are_missing_and_said_so(decoder: Decoder, known: dict[str, Known]) -> None:
    frames, _ = read(decoder, request(known["plain.mp4"], grid=(30000, 1001, 55, 70)))
    assert clips.numbers_of(frames) == [
        45,
        46,
        47,
        48,
        49,
    ]  # row 60: 2.002 s
    assert decoder.summary is not None
    assert decoder.summary.reason == "truncated"
    assert "10 rows" in decoder.summary.message


GEOMETRIES = {
    "squeeze": Geometry(rotation=0, crop=(0, 0, 320, 180), scaled=(56, 56), pad=(0, 0), size=(56, 56)),
    "same": Geometry(rotation=0, crop=(0, 0, 320, 180), scaled=(180, 320), pad=(0, 0), size=(180, 320)),
    "crop": Geometry(rotation=0, crop=(70, 0, 180, 180), scaled=(64, 64), pad=(0, 0), size=(64, 64)),
    "odd crop": Geometry(rotation=0, crop=(33, 17, 151, 99), scaled=(75, 101), pad=(0, 0), size=(75, 101)),
    "letterbox": Geometry(rotation=0, crop=(0, 0, 320, 180), scaled=(63, 112), pad=(24, 0), size=(112, 112)),
    "enlarge": Geometry(rotation=0, crop=(10, 20, 40, 30), scaled=(90, 120), pad=(3, 5), size=(100, 130)),
    "turn 90": Geometry(rotation=90, crop=(0, 70, 180, 180), scaled=(64, 64), pad=(0, 0), size=(64, 64)),
    "turn 180": Geometry(rotation=180, crop=(0, 0, 320, 180), scaled=(90, 160), pad=(0, 0), size=(90, 160)),
    "turn 270": Geometry(rotation=270, crop=(20, 0, 160, 320), scaled=(80, 40), pad=(0, 20), size=(80, 80)),
}


def chain(geometry: Geometry) -> list[str]:
    """Return the filters that a geometry stands for, as an ffmpeg user would write them."""
    (x, y, crop_w, crop_h), (height, width), (top, left) = geometry.crop, geometry.scaled, geometry.pad
    turns = {0: [], 90: ["transpose=1"], 180: ["hflip", "vflip"], 270: ["transpose=2"]}
    return [
        *turns[geometry.rotation],
        f"crop={crop_w}:{crop_h}:{x}:{y}:exact=1",
        f"scale={width}:{height}:flags=bilinear+bitexact",
        "format=rgb24",
        f"pad={geometry.size[1]}:{geometry.size[0]}:{left}:{top}:black",
    ]


@pytest.mark.parametrize("space", ["unspecified", "bt709"])
@pytest.mark.parametrize("case", GEOMETRIES)
def test_pixels_equal_ffmpegs(decoder: Decoder, tmp_path: Path, case: str, space: str) -> None:
    geometry = GEOMETRIES[case]
    colors = {} if space == "unspecified" else {"colorspace": "bt709"}
    path = clips.render(tmp_path / "hd.mp4", num_frames=3, size=(180, 320), options=colors)
    with av.open(str(path)) as container:
        sources = list(container.decode(video=0))
    graph = av.filter.Graph()
    colors_in = f"pix_fmt=yuv420p:colorspace={int(sources[0].colorspace)}:range={int(sources[0].color_range)}"
    nodes = [graph.add("buffer", f"video_size=320x180:time_base=1/25:{colors_in}")]
    nodes += [graph.add(*text.split("=", 1)) for text in chain(geometry)]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    expected = []
    for source in sources:
        graph.vpush(source)
        expected.append(graph.vpull().to_ndarray())
    upright = (320, 180) if geometry.rotation in (90, 270) else (180, 320)
    clip = know(decoder, path)
    frames, _ = read(decoder, request(clip, geometry=geometry, source_size=upright))
    np.testing.assert_array_equal(frames, np.stack(expected))

    raw = ["-vf", ",".join(chain(geometry)), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [clips.tool("ffmpeg"), "-v", "error", "-noautorotate", "-i", str(path), *raw]
    told = subprocess.run(command, check=True, capture_output=True).stdout
    other = np.frombuffer(told, np.uint8).reshape(frames.shape)
    assert np.abs(frames.astype(int) - other).max() <= 2


def test_a_turned_video_comes_upright(decoder: Decoder, tmp_path: Path) -> None:
    for rotation in (90, 180, 270):
        clip = know(decoder, clips.render(tmp_path / f"{rotation}.mp4", num_frames=1, rotation=rotation))
        size = (128, 96) if rotation in (90, 270) else (96, 128)
        assert (clip.video.rotation, clip.video.height, clip.video.width) == (rotation, *size)
        frames, _ = read(decoder, request(clip, geometry=whole(clip.video, size)))
        expected = np.rot90(clips.picture(0, 96, 128), -rotation // 90).astype(int)
        inner = np.s_[4:-4, 4:-4]  # edges of the bars blur
        assert np.median(np.abs(frames[0][inner] - expected[inner])) <= 4


def test_pixel_ramps_tell_the_crops_place(decoder: Decoder, tmp_path: Path) -> None:
    clip = know(decoder, clips.render(tmp_path / "a.mp4", num_frames=1, size=(200, 400)))
    geometry = Geometry(rotation=0, crop=(120, 100, 160, 80), scaled=(40, 80), pad=(0, 0), size=(40, 80))
    frames, _ = read(decoder, request(clip, geometry=geometry))
    x = 120 + (np.arange(80) + 0.5) * 2 - 0.5  # source pixel at each column's centre
    y = 100 + (np.arange(40) + 0.5) * 2 - 0.5
    assert np.abs(frames[0, ..., 0].mean(axis=0) - x * 255 / 399)[1:-1].max() <= 3
    assert np.abs(frames[0, ..., 1].mean(axis=1) - y * 255 / 199)[1:-1].max() <= 3


def test_frames_pass_the_ring_many_times_while_earlier_blocks_are_read(known: dict[str, Known]) -> None:
    clip = known["bframes.mp4"]
    small = Decoder(Limits(slots=2, slot_rows=3, slot_bytes=48 * 64 * 3 * 3))
    seen = []
    for frames, _ in small.frames(request(clip, grid=(100, 1, 0, 200))):
        assert len(frames) <= 3
        seen += clips.numbers_of(frames)
    small.close()
    assert seen == [k // 4 for k in range(200)]


def test_bare_decodes_the_same_frames(decoder: Decoder, known: dict[str, Known]) -> None:
    asked = request(known["bframes.mkv"], pts_lo=400, pts_hi=1200)
    summary = decoder.bare(asked)
    frames, _ = read(decoder, asked)
    assert (summary.num_rows, summary.num_redecoded) == (len(frames), 10) == (20, 10)
    assert summary.cpu_seconds > 0
    assert 0 < summary.wall_seconds < 10


def test_another_frame_size_ends_the_video(decoder: Decoder, tmp_path: Path) -> None:
    first = clips.render(tmp_path / "a.h264", num_frames=20)
    second = clips.render(tmp_path / "b.h264", num_frames=20, size=(64, 96))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    clip = know(decoder, joined)
    for asked in (request(clip), request(clip, grid=(25, 1, 0, 40))):
        frames, _ = read(decoder, asked)
        assert clips.numbers_of(frames) == list(range(20))
        assert decoder.summary is not None
        assert (decoder.summary.reason, decoder.summary.num_rows) == ("resolution_change", 20)


def test_a_damaged_packet_costs_its_frame(decoder: Decoder, tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mkv", num_frames=30, gop=1)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    at = data.index(b"\x00\x00", packets[12][0])  # the length before the first unit of frame 12
    data[at : at + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    frames, _ = read(decoder, request(know(decoder, path)))
    assert clips.numbers_of(frames) == [n for n in range(30) if n != 12]
    assert decoder.summary is not None
    assert decoder.summary.reason == "corrupt"


def test_threads_take_turns_and_one_thread_is_told_of_its_open_reading(known: dict[str, Known]) -> None:
    decoder = Decoder()
    seen: dict[str, list[int]] = {}

    def work(name: str) -> None:
        seen[name] = clips.numbers_of(read(decoder, request(known[name]))[0])

    threads = [threading.Thread(target=work, args=(name,)) for name in list(KINDS)[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == {name: list(range(50)) for name in list(KINDS)[:4]}
    reading = decoder.frames(request(known["plain.mp4"]))
    next(reading)
    with pytest.raises(RuntimeError, match="exhaust or close"):
        decoder.probe(str(known["plain.mp4"].path))
    decoder.close()


def test_requests_that_cannot_be_met_are_refused(decoder: Decoder, known: dict[str, Known]) -> None:
    asked = request(known["plain.mp4"])
    with pytest.raises(DecodeError, match="one slot") as caught:
        list(decoder.frames(replace(asked, geometry=whole(known["plain.mp4"].video, (4000, 4000)))))
    assert caught.value.reason == "too_large"
    for changes in ({"uri": "relative.mp4"}, {"seek_pts": 1}, {"grid": (0, 1, 0, 1)}, {"grid": (1, 1, 3, 2)}):
        with pytest.raises(ValueError, match=r"path|seek_pts|grid"):
            replace(asked, **changes)  # type: ignore[arg-type]
    box = Geometry(rotation=0, crop=(0, 0, 8, 8), scaled=(8, 8), pad=(1, 0), size=(8, 8))
    with pytest.raises(ValueError, match="does not fit"):
        replace(asked, geometry=box)
