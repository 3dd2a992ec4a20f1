"""Synthetic clips whose pixels tell where they are: a frame's number as bars, and ramps along y and x below.

from pathlib import Path
import numbered_clips as clips

path = clips.render(Path(tmp_path) / "a.mp4", num_frames=50, gop=12, bframes=2)
clips.number_of(frame)      # the frame's number, read back from (height, width, 3) pixels of any size
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

NUM_BITS = 12
Frame = npt.NDArray[np.uint8]


def tool(name: str) -> str:
    """Return the path of a program that checks independently of PyAV; skip the test where it is missing."""
    found = shutil.which(name)
    if found is None:
        unavailable(f"needs the {name} program (Debian: apt-get install ffmpeg)")
    return str(found)


def unavailable(why: str) -> None:
    """Skip the test, or fail it where PATCHLAKE_NO_SKIP=1 says that all that tests need is there."""
    if os.environ.get("PATCHLAKE_NO_SKIP") == "1":
        pytest.fail(why)
    pytest.skip(why)


def shared_videos() -> Path:
    """Return the folder of real videos; skip the test where it is missing."""
    default = Path(__file__).resolve().parents[3] / "shared" / "videos"
    folder = Path(os.environ.get("PATCHLAKE_SHARED_VIDEOS", default))
    if not folder.is_dir():
        pytest.skip(f"needs the folder of real videos at {folder} (or PATCHLAKE_SHARED_VIDEOS)")
    return folder


def picture(number: int, height: int, width: int) -> Frame:
    """Return frame `number`: bars in the top quarter (lowest bit left), red grows with x, green with y."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, width).round()[None, :]
    frame[..., 1] = np.linspace(0, 255, height).round()[:, None]
    frame[..., 2] = 128
    bits = (number >> (np.arange(width) * NUM_BITS // width)) & 1
    frame[: height // 4] = (bits * 255).astype(np.uint8)[None, :, None]
    return frame


def number_of(frame: Frame) -> int:
    """Return the number that a frame's bars tell, at any size, as long as the top quarter is there."""
    height, width = frame.shape[:2]
    rows = frame[height // 16 : max(height // 16 + 1, height * 3 // 16)].mean(axis=(0, 2))
    centres = ((np.arange(NUM_BITS) + 0.5) * width / NUM_BITS).astype(int)
    return int(sum(1 << bit for bit, at in enumerate(centres) if rows[at] > 127))


def numbers_of(frames: npt.NDArray[np.uint8]) -> list[int]:
    """Return the number of each frame of (time, height, width, 3) pixels."""
    return [number_of(frame) for frame in frames]


def render(
    path: Path,
    *,
    num_frames: int = 30,
    size: tuple[int, int] = (96, 128),
    fps: Fraction | int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    gop: int = 12,
    bframes: int = 0,
    open_gop: bool = False,
    times_ms: Sequence[int] | None = None,
    start: int = 0,
    rotation: int = 0,
    sample_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a clip; the container follows from the file's name.

    `size` is height, width as coded; `times_ms` gives each frame's time, not 1 / fps steps; `start` is the
    first frame's number; `rotation` (mp4, mov) is by how many degrees clockwise a player turns the frames.
    """
    height, width = size
    time_base = 1 / Fraction(fps) if times_ms is None else Fraction(1, 1000)
    encoder = {"bf": str(bframes), "g": str(gop)}
    if codec == "libx264":
        encoder |= {"preset": "ultrafast", "qp": "12", "sc_threshold": "0", "keyint_min": str(gop)}
        encoder["x264-params"] = f"open-gop={int(open_gop)}:b-adapt=0:scenecut=0"
    elif codec in ("mpeg4", "mpeg2video", "msmpeg4v2", "mjpeg"):
        encoder |= {"qscale": "2", "flags": "+qscale", "global_quality": "236"}
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=encoder | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = time_base
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        for i in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(start + i, height, width), format="rgb24")
            frame.pts = i if times_ms is None else times_ms[i]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if rotation:
        _turn(path, rotation)
    return path


def _turn(path: Path, rotation: int) -> None:
    """Write a display matrix into the track header of an mp4 (ISO 14496-12, 8.3.2)."""
    one = 1 << 16
    turns = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}
    a, b, c, d = turns[rotation]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: flags and times before the matrix
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
