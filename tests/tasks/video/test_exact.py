"""Counts, times, planes and colours are FFmpeg's own: another build of it, the command-line tools, is the judge.

PATCHLAKE_EXACT_FRAMES says how many frames at each file's start are compared (0: all); 5 at its end are, after a seek.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame

from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.tracks import fit_frame
from patchlake.tasks.types import Fit, FrameArray, FrameIndex, Geometry, Video
from patchlake.tasks.video import demux
from patchlake.tasks.video.decoder import Decoder, DecodeRequest
from patchlake.tasks.video.probe import video_of

NUM_FRAMES = int(os.environ.get("PATCHLAKE_EXACT_FRAMES", "24")) or 1 << 30
NUM_LAST = 5
FITS: dict[Fit, tuple[int, int]] = {"crop": (96, 128), "letterbox": (112, 112), "stretch": (81, 144)}
"""height, width of the frame grid that each is tried with."""
NASTY = (
    "vfr.mp4", "odd_size_vp9.webm", "gray.mp4", "sar_4_3.mp4", "alpha_qtrle.mov", "open_gop_bframes.mp4",
    "single_frame.mp4", "two_video_streams.mp4", "no_keyframe_start.ts", "negative_pts_editlist.mp4", "late_start.mkv",
    "anim.gif", "mjpeg.avi", "static_one_keyframe.mp4", "mkv_named.mp4", "two_frames_1000fps.mp4", "rotation_90.mov",
    "rotation_180.mov", "sar_2_3_testsrc.mp4", "h264_10bit.mp4", "av1.mkv", "transparent_vp9.webm", "no_duration.webm",
    "out_of_order.mov", "truncated.mkv", "truncated_faststart.mp4", "corrupt_middle.mp4", "fate_corrupted.mp4",
)  # fmt: skip
DAMAGED = {"corrupt_middle.mp4": (0, 91), "fate_corrupted.mp4": (1, 117)}
"""Packets that give no frame, and by how much planes may differ: what damaged H.264 lost, FFmpeg 5.1 and 8.1 guess."""
ROUNDED = {"msmpeg4v3.avi": 1, "wmv1.asf": 1}
"""By how much planes may differ: 5.1 and 8.1 round a few samples of MPEG-4's kin in another way. All else is equal."""
TURNS: dict[int, list[str]] = {0: [], 90: ["transpose=1"], 180: ["hflip", "vflip"], 270: ["transpose=2"]}
ON_BLACK = "format=rgba,format=gbrap,premultiply=inplace=1,format=gbrp"
Frames = npt.NDArray[np.int16]
MATRICES = {"bt709": "bt709", "smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020", "unknown": "bt601"}


def listing() -> list[str]:
    folder = Path(os.environ.get("PATCHLAKE_SHARED_VIDEOS", Path(__file__).resolve().parents[4] / "shared" / "videos"))
    found = [path for part in ("clips", "actions") for path in sorted((folder / part).rglob("*.*"))]
    return [str(path.relative_to(folder)) for path in found] + [f"nasty-dev/{name}" for name in NASTY]


_QUIET = ["-x265-params", "log-level=none"]
ENCODED: dict[str, list[str]] = {
    "mpeg1.mpg": ["mpeg1video", "-bf", "2", "-q:v", "4"],
    "mpeg2.ts": ["mpeg2video", "-bf", "2", "-q:v", "4"],
    "mpeg2_422.mkv": ["mpeg2video", "-pix_fmt", "yuv422p", "-q:v", "4"],
    "mpeg2_interlaced.ts": ["mpeg2video", "-flags", "+ilme+ildct", "-q:v", "4"],
    "mpeg4.mp4": ["mpeg4", "-bf", "2", "-q:v", "4"],
    "mpeg4_qpel.avi": ["mpeg4", "-flags", "+qpel", "-q:v", "4"],
    "msmpeg4v2.avi": ["msmpeg4v2", "-q:v", "4"],
    "msmpeg4v3.avi": ["msmpeg4", "-q:v", "4"],
    "h263.avi": ["h263", "-q:v", "4"],
    "flv1.flv": ["flv", "-q:v", "4"],
    "wmv1.asf": ["wmv1", "-q:v", "4"],
    "wmv2.wmv": ["wmv2", "-q:v", "4"],
    "theora.ogv": ["libtheora", "-q:v", "6"],
    "mjpeg.mov": ["mjpeg", "-q:v", "3"],
    "mjpeg_444.avi": ["mjpeg", "-pix_fmt", "yuvj444p", "-q:v", "3"],
    "gif.gif": ["gif"],
    "png.mov": ["png"],
    "png_16bit.mov": ["png", "-pix_fmt", "rgb48be"],
    "dv.avi": ["dvvideo", "-s", "720x576", "-pix_fmt", "yuv420p"],
    "prores.mov": ["prores_ks"],
    "prores_alpha.mov": ["prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"],
    "dnxhr.mov": ["dnxhd", "-profile:v", "dnxhr_hq", "-s", "256x128", "-pix_fmt", "yuv422p"],
    "ffv1.mkv": ["ffv1"],
    "ffv1_422_10bit.mkv": ["ffv1", "-pix_fmt", "yuv422p10le"],
    "ffv1_grey.mkv": ["ffv1", "-pix_fmt", "gray"],
    "ffv1_grey_10bit.mkv": ["ffv1", "-pix_fmt", "gray10le"],
    "ffv1_bgra.mkv": ["ffv1", "-pix_fmt", "bgra"],
    "ffv1_alpha.mkv": ["ffv1", "-pix_fmt", "yuva420p"],
    "huffyuv.avi": ["huffyuv"],
    "ffvhuff.avi": ["ffvhuff", "-pix_fmt", "yuv420p"],
    "utvideo.avi": ["utvideo", "-pix_fmt", "yuv420p"],
    "utvideo_rgb.avi": ["utvideo", "-pix_fmt", "gbrp"],
    "qtrle.mov": ["qtrle", "-pix_fmt", "rgb24"],
    "qtrle_palette.mov": ["qtrle", "-pix_fmt", "gray"],
    "cinepak.avi": ["cinepak", "-s", "88x72"],
    "raw_palette.avi": ["rawvideo", "-pix_fmt", "pal8"],
    "raw_bgr.avi": ["rawvideo", "-pix_fmt", "bgr24"],
    "raw_yuyv.avi": ["rawvideo", "-pix_fmt", "yuyv422"],
    "raw.y4m": ["wrapped_avframe", "-pix_fmt", "yuv420p"],
    "h264.mp4": ["libx264", "-bf", "2"],
    "h264_bt709.mp4": ["libx264", "-colorspace", "bt709", "-color_range", "tv"],
    "h264_full.mp4": ["libx264", "-pix_fmt", "yuvj420p"],
    "h264_interlaced.ts": ["libx264", "-flags", "+ilme+ildct"],
    "h264_422_10bit.mkv": ["libx264", "-pix_fmt", "yuv422p10le"],
    "h264_444.mp4": ["libx264", "-pix_fmt", "yuv444p"],
    "h264_rgb.mkv": ["libx264rgb"],
    "hevc.mp4": ["libx265", *_QUIET],
    "hevc_10bit.mkv": ["libx265", "-pix_fmt", "yuv420p10le", *_QUIET],
    "hevc_bt2020.mkv": ["libx265", "-pix_fmt", "yuv420p10le", "-colorspace", "bt2020nc", *_QUIET],
    "hevc_444_12bit.mkv": ["libx265", "-pix_fmt", "yuv444p12le", *_QUIET],
    "vp8.webm": ["libvpx", "-b:v", "600k"],
    "vp9.webm": ["libvpx-vp9", "-b:v", "600k", "-deadline", "realtime", "-cpu-used", "8"],
    "vp9_444.webm": ["libvpx-vp9", "-b:v", "600k", "-pix_fmt", "yuv444p", "-deadline", "realtime", "-cpu-used", "8"],
    "av1.mkv": ["libaom-av1", "-cpu-used", "8", "-usage", "realtime"],
    "av1_10bit.mkv": ["libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-pix_fmt", "yuv420p10le"],
}  # fmt: skip
"""Encoder and options of ffmpeg, for every codec of `demux.CODECS` that Debian's encodes."""


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nasty")
    with tarfile.open(clips.shared_videos() / "nasty.tar") as tar:
        tar.extractall(folder, filter="fully_trusted")
    return folder


@pytest.mark.shared_videos
@pytest.mark.parametrize("name", listing())
def test_a_real_video_is_read_as_by_ffmpeg(
    decoder: Decoder, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    in_tar = name.startswith("nasty-dev/")
    folder: Path = request.getfixturevalue("nasty") if in_tar else clips.shared_videos()
    assert_as_by_ffmpeg(decoder, folder / name, tmp_path)


@pytest.mark.parametrize("name", ENCODED)
def test_a_codec_and_pixel_format_is_read_as_by_ffmpeg(decoder: Decoder, name: str, tmp_path: Path) -> None:
    source = ["-f", "lavfi", "-i", "testsrc2=size=176x144:rate=25:duration=0.4,noise=alls=12:allf=t"]
    run("ffmpeg", *source, "-threads", "2", "-c:v", *ENCODED[name], str(tmp_path / name))
    assert_as_by_ffmpeg(decoder, tmp_path / name, tmp_path)


def assert_as_by_ffmpeg(decoder: Decoder, path: Path, scratch: Path) -> tuple[str, int]:
    """Return codec and pixel format, and by how much RGB differs at most; -1 where that is not compared."""
    facts, index = decoder.probe(uri_of(path))
    video = video_of("", facts, index)
    stream, told = by_ffprobe(path)
    num_lost, difference = DAMAGED.get(path.name, (0, ROUNDED.get(path.name, 0)))
    assert video.num_frames == len(told) + num_lost
    if video.counted:  # neither the file nor ffprobe knows each time: evenly spaced, and right where a time is told
        assert len(set(np.diff(index.pts).tolist())) == 1
        assert {time for time in told if time is not None} <= set(index.pts.tolist())
    elif num_lost:
        assert set(told) < set(index.pts.tolist())
    else:
        assert index.pts.tolist() == told

    planes = list(planes_of(path))
    rows = rows_of(len(told))
    geometries = [fit_frame(video, size=size, fit=fit) for fit, size in FITS.items()]
    hashes, pictures = by_ffmpeg(path, stream, rows, len(planes), geometries, scratch)
    if difference:
        first = ["-map", f"0:{stream['index']}", "-frames:v", str(len(planes)), "-fps_mode", "passthrough"]
        raw = np.frombuffer(run("ffmpeg", "-i", str(path), *first, "-f", "rawvideo", "-"), np.uint8)
        assert np.abs(np.frombuffer(b"".join(planes), np.uint8).astype(int) - raw).max() <= difference
    else:
        assert [hashlib.md5(frame).hexdigest() for frame in planes] == hashes
    name, worst = f"{video.codec} {video.pixel_format}", -1
    if path.name in DAMAGED:
        return name, worst
    for geometry, theirs in zip(geometries, pictures, strict=True):
        ours = frames_of(decoder, path, video, index, rows, geometry)
        assert ours.shape == theirs.shape
        worst = max(worst, int(np.abs(ours.astype(np.int16) - theirs).max()))
        assert worst <= 2, geometry
    return name, worst


def rows_of(num_frames: int) -> list[range]:
    """Return the frames to compare: those at the start, and the last ones."""
    stop = min(num_frames, NUM_FRAMES)
    return [rows for rows in (range(stop), range(max(stop, num_frames - NUM_LAST), num_frames)) if rows]


def planes_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of each frame as decoded, without padding, up to NUM_FRAMES."""
    container, stream = demux.open_video(uri_of(path), 1 << 26, 1, for_index=False, beat=lambda: None)
    faults: collections.Counter[str] = collections.Counter()
    with container:
        packets = itertools.chain(demux.packets_of(container, stream, faults), (None,))
        frames = (frame for packet in packets for frame in demux.decoded(stream, packet, faults))
        for frame in itertools.islice(frames, NUM_FRAMES):
            yield b"".join(plane_bytes(frame))


def plane_bytes(frame: VideoFrame) -> Iterator[bytes]:
    if frame.planes[0].line_size < 0:  # bottom up
        yield frame.to_ndarray().tobytes()
        return
    bits = 8 * ((frame.format.components[0].bits + 7) // 8)
    if len(frame.planes) == 1:
        bits = frame.format.padded_bits_per_pixel
    for number, plane in enumerate(frame.planes):
        if frame.format.name == "pal8" and number == 1:
            yield bytes(plane)
            continue
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        yield rows[:, : plane.width * bits // 8].tobytes()


def frames_of(
    decoder: Decoder, path: Path, video: Video, index: FrameIndex, rows: list[range], geometry: Geometry
) -> FrameArray:
    """Return rows as the product decodes them: each range from the last key frame at or before it."""
    pts, keys = index.pts, index.pts[index.key_rows]
    parts = []
    for some in rows:
        low = int(pts[some.start])
        before = keys[keys <= low]
        asked = DecodeRequest(
            uri=uri_of(path),
            geometry=geometry,
            time_base=video.time_base,
            first_pts=video.first_pts,
            counted=video.counted,
            seek_pts=None if video.counted or not len(before) else int(before[-1]),
            pts_lo=low,
            pts_hi=int(pts[some.stop]) if some.stop < len(pts) else None,
        )
        parts += [frames.copy() for frames, _ in decoder.frames(asked)]
    return np.concatenate(parts)


def by_ffmpeg(
    path: Path, stream: dict[str, Any], rows: list[range], num_planes: int, geometries: list[Geometry], scratch: Path
) -> tuple[list[str], list[Frames]]:
    """Return the MD5 of the first frames' planes, and the rows on each frame grid, from one run of ffmpeg."""
    which = ["-map", f"0:{stream['index']}", "-fps_mode", "passthrough"]
    outputs = [*which, "-frames:v", str(num_planes), "-f", "framemd5", "-"]
    for number, geometry in enumerate(geometries):
        outputs += [*which, "-vf", filters(stream, rows, geometry), "-pix_fmt", "rgb24", "-f", "rawvideo"]
        outputs += [str(scratch / f"{number}.rgb")]
    lines = run("ffmpeg", "-y", "-noautorotate", "-i", str(path), *outputs).decode()
    hashes = [line.split(",")[-1].strip() for line in lines.splitlines() if not line.startswith("#")]
    pictures = [
        np.fromfile(scratch / f"{number}.rgb", np.uint8).reshape(-1, *geometry.size, 3).astype(np.int16)
        for number, geometry in enumerate(geometries)
    ]
    return hashes, pictures


def filters(stream: dict[str, Any], rows: list[range], geometry: Geometry) -> str:
    """Return the filters for rows, with turn, matrix and range spelled out."""
    (x, y, crop_w, crop_h), (height, width), (top, left) = geometry.crop, geometry.scaled, geometry.pad
    pixels, matrix = stream["pix_fmt"], stream.get("color_space", "unknown")
    is_yuv = pixels.startswith(("yu", "gray"))
    levels = "pc" if stream.get("color_range") == "pc" or pixels.startswith("yuvj") else "tv"
    colours = f":in_color_matrix={MATRICES[matrix]}:in_range={levels}" if is_yuv else ""
    has_alpha = re.match(r"yuva|gbrap|rgba|bgra|argb|abgr|ya", pixels)
    wanted = "+".join(f"between(n,{some.start},{some.stop - 1})" for some in rows)
    chain = [
        f"select='{wanted}'",
        *TURNS[geometry.rotation],
        *([f"scale=flags=bilinear+bitexact{colours}", ON_BLACK] if has_alpha else []),
        f"crop={crop_w}:{crop_h}:{x}:{y}:exact=1",
        f"scale={width}:{height}:flags=bilinear+bitexact{'' if has_alpha else colours}",
        "format=rgb24",
        f"pad={geometry.size[1]}:{geometry.size[0]}:{left}:{top}:black",
    ]
    return ",".join(chain)


def by_ffprobe(path: Path) -> tuple[dict[str, Any], list[int | None]]:
    """Return the stream that ffmpeg picks (of several, the one with most pixels), and the time of each frame."""
    entries = "stream=index,width,height,pix_fmt,color_space,color_range:frame=stream_index,best_effort_timestamp"
    told = json.loads(run("ffprobe", "-select_streams", "v", "-show_entries", entries, "-of", "json", str(path)))
    stream: dict[str, Any] = max(told["streams"], key=lambda stream: stream["width"] * stream["height"])
    frames = [frame for frame in told["frames"] if frame["stream_index"] == stream["index"]]
    return stream, [frame.get("best_effort_timestamp") for frame in frames]


def run(program: str, *arguments: str) -> bytes:
    command = [clips.tool(program), "-v", "fatal", *arguments]
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
