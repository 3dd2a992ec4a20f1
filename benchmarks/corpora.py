"""Corpora for benchmarks, made once: transcodes, stream-copied concatenations and pieces of real clips.

The same file twice would be a duplicate by content, so each gets metadata of its own.
"""

from __future__ import annotations

import functools
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

SHARED = Path(os.environ.get("PATCHLAKE_SHARED_VIDEOS", Path(__file__).resolve().parents[2] / "shared" / "videos"))


def transcode(source: Path, target: Path, *, width: int, height: int, gop: int = 250) -> Path:
    """Write a clip at another size as H.264 (libx264, veryfast, crf 23)."""
    with av.open(str(source)) as a, av.open(str(target), "w") as b:
        stream = b.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23", "g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i, frame in enumerate(a.decode(video=0)):
            picture = frame.reformat(width, height, "yuv420p")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            b.mux(stream.encode(picture))
        b.mux(stream.encode(None))
    return target


def copy_packets(
    source: Path, target: Path, *, title: str, times: int = 1, first: int = 0, last: int | None = None
) -> int:
    """Copy packets [first, last) of a clip without decoding, `times` over; return how many were written."""
    with av.open(str(source)) as a:
        stream = a.streams.video[0]
        packets = [p for p in a.demux(stream) if p.size][first:last]
        with av.open(str(target), "w") as b:
            b.metadata["title"] = title
            out = b.add_stream_from_template(stream)
            begin = min(p.dts for p in packets)
            length = max(p.pts for p in packets) - begin + (packets[0].duration or 1)
            for k in range(times):
                for packet in packets:
                    copy = av.Packet(bytes(packet))
                    copy.pts = packet.pts - begin + k * length
                    copy.dts = packet.dts - begin + k * length
                    copy.duration, copy.time_base = packet.duration, stream.time_base
                    copy.is_keyframe = packet.is_keyframe
                    copy.stream = out
                    b.mux(copy)
    return len(packets) * times


def long_files(folder: Path, *, width: int, height: int, frames: int, count: int = 8) -> Path:
    """Make `count` files of about `frames` frames each, of two real clips, at one size."""
    target = folder / f"{width}x{height}"
    if target.is_dir():
        return target
    part = folder / f"{width}x{height}.part"
    part.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(("yoga.mp4", "bikes_cuts.mp4")):
        clip = transcode(SHARED / "clips" / name, folder / f"{i}-{width}.mp4", width=width, height=height)
        with av.open(str(clip)) as c:
            length = c.streams.video[0].frames
        for k in range(count // 2):
            copy_packets(clip, part / f"{i}-{k}.mp4", title=f"{i} {k}", times=-(-frames // length))
    part.rename(target)
    return target


def one_file(folder: Path, *, width: int, height: int, frames: int, clip: str = "yoga.mp4") -> Path:
    """Make one file of about `frames` frames of a real clip, at one size."""
    target = folder / f"one-{width}x{height}-{frames}"
    if not target.is_dir():
        part = folder / f"{target.name}.part"
        part.mkdir(parents=True, exist_ok=True)
        made = transcode(SHARED / "clips" / clip, folder / f"one-{width}-{clip}", width=width, height=height)
        with av.open(str(made)) as c:
            length = c.streams.video[0].frames
        copy_packets(made, part / "one.mp4", title="one", times=-(-frames // length))
        part.rename(target)
    return target


def short_files(folder: Path, *, width: int, height: int, frames: int) -> Path:
    """Make files of 50 frames, `frames` in all, of pieces of real clips at one size."""
    target = folder / f"short-{width}x{height}-{frames}"
    if not target.is_dir():
        part = folder / f"{target.name}.part"
        part.mkdir(parents=True, exist_ok=True)
        names = ("yoga.mp4", "bikes_cuts.mp4")
        made = [
            transcode(SHARED / "clips" / n, folder / f"short-{width}-{n}", width=width, height=height, gop=50)
            for n in names
        ]
        pieces = [(clip, first) for clip in made for first in _keys(clip)[:-1]]
        for k in range(frames // 50):
            clip, first = pieces[k % len(pieces)]
            last = min(key for key in _keys(clip) if key > first)
            copy_packets(clip, part / f"{k:05d}.mp4", title=str(k), first=first, last=last)
        part.rename(target)
    return target


@functools.cache
def _keys(clip: Path) -> list[int]:
    """Return the positions of key frames among a clip's packets."""
    with av.open(str(clip)) as c:
        return [i for i, p in enumerate(p for p in c.demux(c.streams.video[0]) if p.size) if p.is_keyframe]


def short_pieces(folder: Path, *, count: int = 1000) -> Path:
    """Make `count` short clips: pieces of real H.264 clips from one key frame to the next, 8 to 120 frames long."""
    target = folder / f"pieces-{count}"
    if target.is_dir():
        return target
    part = folder / f"pieces-{count}.part"
    part.mkdir(parents=True, exist_ok=True)
    found: list[tuple[Path, int, int]] = []
    for clip in sorted(SHARED.glob("**/*.mp4")):
        with av.open(str(clip)) as c:
            stream = c.streams.video[0]
            if stream.codec_context.name != "h264":
                continue
            keys = [i for i, p in enumerate(p for p in c.demux(stream) if p.size) if p.is_keyframe]
        found += [(clip, a, b) for a, b in pairwise(keys) if 8 <= b - a <= 120]
    for k in range(count):
        clip, first, last = found[k % len(found)]
        copy_packets(clip, part / f"{k:04d}.mp4", title=str(k), first=first, last=last)
    part.rename(target)
    return target
