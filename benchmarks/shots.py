"""How well shots are found: 300 hard cuts and 50 dissolves made by joining real clips at random places.

python benchmarks/shots.py [--seed 0] [--folder FOLDER]

Thresholds are PySceneDetect's defaults. Seed 0 is the test: the default detector and the two values of `gradual`, which
is ours, were chosen on seeds 1 to 4, which join other pieces of the same clips. A cut is found when a boundary lies
within 2 frames of it (one boundary for each cut), a dissolve when one lies inside it or within 2 frames of its ends.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from corpora import SHARED, copy_packets

from patchlake.tasks import features
from patchlake.tasks.clips import segment
from patchlake.tasks.clips.shots import Shots
from patchlake.tasks.features.shot_score import ShotScoreSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.tracks import fit_frame
from patchlake.tasks.types import FloatArray, FrameArray, Source, Video
from patchlake.tasks.video.decoder import DecodeRequest, get_decoder
from patchlake.tasks.video.probe import probe_source

FPS, SIZE = 25, (240, 320)
NEAR = 2
LEFT_OUT = {
    "bikes_cuts.mp4": "has cuts of its own, see gt/",
    "nasa_13013.mp4": "has cuts of its own, see gt/",
    "sintel_flow_gt.mp4": "colours that stand for flow",
    "carphone_distorted.mp4": "the same scene as carphone_pristine.mp4, damaged",
}
"""And mirrored twins. All others were looked at: none has a cut."""
SOUND_SECONDS = {"arm_wrestling.mp4": 229 / 28}
"""Up to where a clip is not damaged, as manifest.csv says."""


@dataclass(frozen=True)
class Clip:
    """A source of segments."""

    name: str
    uri: str
    video: Video
    num_frames: int
    """At FPS, sound ones."""


@dataclass(frozen=True)
class Scored:
    """A made video: what shot_score tells of it, and the truth."""

    name: str
    seconds: FloatArray
    scores: dict[str, npt.NDArray[np.float32]]
    stop_seconds: float
    cuts: list[int]
    """First frame of each new shot."""
    dissolves: list[list[int]]
    """First and last frame that shows two shots."""
    joins: list[list[str]]
    """Names of the clips on both sides."""


def main() -> None:
    """Make the corpus once, score it, print every detector's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = joined_clips(args.folder, args.seed)
    started = time.perf_counter()
    scored = [score(path, json.loads(path.with_suffix(".json").read_text())) for path in sorted(folder.glob("*.mp4"))]
    frames = sum(len(video.seconds) for video in scored)
    print(f"{len(scored)} videos, {frames} frames: decoded and scored in {time.perf_counter() - started:.0f} s")
    real = [score(first_stream(name, args.folder), truth(name)) for name in ("bikes_cuts.mp4", "nasa_13013.mp4")]
    methods = [Shots(method="shots", detector=name) for name in segment.CHANNELS]  # type: ignore[arg-type]
    methods += [Shots(method="shots", gradual=threshold) for threshold in (1.0, 0.4)]
    for method in methods:
        report(method, scored, real)


def report(method: Shots, scored: list[Scored], real: list[Scored]) -> None:
    """Print the figures of a method."""
    hard, soft = [v for v in scored if v.cuts], [v for v in scored if v.dissolves]
    found = [boundaries(video, method) for video in hard]
    pairs = [matched(rows, video.cuts) for rows, video in zip(found, hard, strict=True)]
    right, wanted = sum(map(len, pairs)), sum(len(video.cuts) for video in hard)
    precision, recall = right / max(1, sum(map(len, found))), right / wanted
    f1 = 2 * right / (sum(map(len, found)) + wanted)
    exact = sum(row == cut for video_pairs in pairs for row, cut in video_pairs)
    inside, outside = zip(*(dissolved(boundaries(video, method), video) for video in soft), strict=True)
    gradual = f", gradual {method.gradual}" if method.gradual else ""
    print(
        f"{method.detector}{gradual}: {wanted} cuts: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}, "
        f"{exact} of {right} at the very frame; dissolves: {sum(inside)} of {sum(len(v.dissolves) for v in soft)}, "
        f"{sum(outside)} boundaries elsewhere"
    )
    for video in real:
        print(f"    {video.name}: {boundaries(video, method)}, truth: cuts {video.cuts}, dissolves {video.dissolves}")
    if method == Shots(method="shots"):
        for video, video_pairs in zip(hard, pairs, strict=True):
            seen = {cut for _, cut in video_pairs}
            missed = [" to ".join(video.joins[i]) for i, cut in enumerate(video.cuts) if cut not in seen]
            print(f"    {video.name}: missed {', '.join(missed) or 'none'}")


def boundaries(video: Scored, method: Shots) -> list[int]:
    """Return the first frame of every shot but the first."""
    ranges = segment.shots(method, video.seconds, video.scores, stop_seconds=video.stop_seconds)
    return [int(np.searchsorted(video.seconds, start)) for start, _ in ranges[1:]]


def matched(found: list[int], cuts: list[int]) -> list[tuple[int, int]]:
    """Return pairs (found, cut) at most NEAR frames apart, in order, each used once."""
    pairs, left = [], sorted(found)
    for cut in cuts:
        near = [row for row in left if abs(row - cut) <= NEAR]
        if near:
            best = min(near, key=lambda row: abs(row - cut))
            left.remove(best)
            pairs.append((best, cut))
    return pairs


def dissolved(found: list[int], video: Scored) -> tuple[int, int]:
    """Return how many dissolves hold a boundary, and how many boundaries lie in none."""
    holds = [[a - NEAR <= row <= b + NEAR for row in found] for a, b in video.dissolves]
    return sum(map(any, holds)), len(found) - sum(map(any, zip(*holds, strict=True)))


def first_stream(name: str, folder: Path) -> Path:
    """Return a copy of a real clip's first video stream, which gt/ speaks of: nasa_13013.mp4 has a larger one too."""
    copy = folder / name
    if not copy.exists():
        copy_packets(SHARED / "clips" / name, copy, title=name)
    return copy


def truth(name: str) -> dict[str, Any]:
    """Return what gt/ says of a real clip."""
    (path,) = (p for p in (SHARED / "gt").glob("*.json") if json.loads(p.read_text())["file"].endswith(name))
    known = json.loads(path.read_text())
    cuts = known.get("hard_cuts_first_frame_of_new_shot") or known["hard_cuts"]
    return {"cuts": cuts, "dissolves": known.get("dissolve", []), "joins": []}


def score(path: Path, known: dict[str, Any], *, size: tuple[int, int] = (224, 224)) -> Scored:
    """Decode a video onto a frame grid of its own rate and put it through the extractor, block by block."""
    extractor = features.build(
        ShotScoreSpec(kind="shot_score"), patches=Grid((8, 32, 32), (8, 32, 32)), frame_size=size
    )
    video = probe(path)
    request = DecodeRequest(
        uri=str(path),
        geometry=fit_frame(video, size=size, fit="crop"),
        time_base=video.time_base,
        first_pts=video.first_pts,
        counted=video.counted,
        pts_lo=video.first_pts,
    )
    rows, pts, last = [], [], None
    for frames, block_pts in get_decoder().frames(request):
        rows.append(extractor(np.concatenate([frames[:1] if last is None else last, frames]))[:, 0, 0])
        pts.append(block_pts)
        last = frames[-1:].copy()
    values = np.concatenate(rows)
    seconds = (np.concatenate(pts) - video.first_pts) * float(video.time_base)
    scores = {name: values[:, i] for i, name in enumerate(extractor.channels)}
    return Scored(path.name, seconds, scores, video.duration_seconds, known["cuts"], known["dissolves"], known["joins"])


def probe(path: Path) -> Video:
    """Return a file's video."""
    found = probe_source(Source(uri=str(path), size=path.stat().st_size, version="0"))
    assert found.video is not None, found.source.message
    return found.video


def joined_clips(folder: Path, seed: int) -> Path:
    """Make 12 videos with 25 hard cuts each and 5 with 10 dissolves each, and the truth beside them as JSON."""
    target, part = folder / f"shots-{seed}", folder / f"shots-{seed}.part"
    if target.is_dir():
        return target
    part.mkdir(parents=True, exist_ok=True)
    clips, chance = list(sources()), random.Random(seed)
    for i in range(12):
        shots = [some_frames(clip, chance, 0, 0) for clip in neighbours(clips, 26, chance)]
        write(part / f"cuts-{i:02d}.mp4", shots, [0] * 25)
    for i in range(5):
        fades = [chance.randint(FPS // 2, FPS) for _ in range(10)]
        long = [clip for clip in clips if clip.num_frames >= 3 * FPS]
        around = zip(neighbours(long, 11, chance), [0, *fades], [*fades, 0], strict=True)
        write(part / f"dissolves-{i}.mp4", [some_frames(clip, chance, a, b) for clip, a, b in around], fades)
    part.rename(target)
    return target


def sources() -> Iterator[Clip]:
    """Yield the real clips that are one shot, and last a second."""
    for path in sorted([*SHARED.glob("clips/*"), *SHARED.glob("actions/**/*.mp4")]):
        if path.name not in LEFT_OUT and "mirror" not in path.name:
            video = probe(path)
            seconds = min(video.duration_seconds, SOUND_SECONDS.get(path.name, np.inf))
            if seconds >= 1:
                yield Clip(path.name, str(path), video, int(seconds * FPS))


def neighbours(clips: list[Clip], count: int, chance: random.Random) -> list[Clip]:
    """Return clips drawn at random, never the same twice in a row."""
    drawn: list[Clip] = []
    while len(drawn) < count:
        clip = chance.choice(clips)
        if not drawn or clip is not drawn[-1]:
            drawn.append(clip)
    return drawn


def some_frames(clip: Clip, chance: random.Random, before: int, after: int) -> tuple[str, FrameArray]:
    """Return 1 to 4 s of a clip from a random place, with frames for the dissolves before and after."""
    most = min(4 * FPS, clip.num_frames - before - after)
    length = chance.randint(FPS, most) + before + after
    start = chance.randint(0, clip.num_frames - length)
    request = DecodeRequest(
        uri=clip.uri,
        geometry=fit_frame(clip.video, size=SIZE, fit="crop"),
        time_base=clip.video.time_base,
        first_pts=clip.video.first_pts,
        counted=clip.video.counted,
        pts_lo=clip.video.first_pts,
        grid=(FPS, 1, start, start + length),
    )
    return clip.name, np.concatenate([frames.copy() for frames, _ in get_decoder().frames(request)])


def write(path: Path, shots: list[tuple[str, FrameArray]], fades: list[int]) -> None:
    """Join shots into one H.264 file: at once, or by cross-fades of so many frames; write the truth beside it."""
    cuts, dissolves = [], []
    film = shots[0][1]
    for (_, shot), fade in zip(shots[1:], fades, strict=True):
        if fade:
            share = (np.arange(1, fade + 1) / (fade + 1))[:, None, None, None]
            mixed = np.rint(film[-fade:] * (1 - share) + shot[:fade] * share).astype(np.uint8)
            dissolves.append([len(film) - fade, len(film) - 1])
            film = np.concatenate([film[:-fade], mixed, shot[fade:]])
        else:
            cuts.append(len(film))
            film = np.concatenate([film, shot])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for i, picture in enumerate(film):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    joins = [[a, b] for (a, _), (b, _) in pairwise(shots)]
    path.with_suffix(".json").write_text(json.dumps({"cuts": cuts, "dissolves": dissolves, "joins": joins}))


if __name__ == "__main__":
    main()
