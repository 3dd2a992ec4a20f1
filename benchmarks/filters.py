"""What frame filters bring: PSNR of noisy clips, motion of shaken ones, time a frame; on real clips made worse by rule.

python benchmarks/filters.py [VIDEO ...]        by default eight clips of ../shared/videos/clips

Noise is Gaussian; PSNR is against the clip as it was. A shaken clip is seen through a window that jumps by N(0, 3)
pixels and turns by N(0, 0.5) degrees each frame. Its shake is the median change of the frame-to-frame shift that
cv2.phaseCorrelate measures (pixels), which knows nothing of corners; a smooth pan has none. Fidelity is the mean PSNR
between neighbouring frames (ITF).
"""

from __future__ import annotations

import argparse
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from corpora import SHARED

from patchlake.tasks import filters
from patchlake.tasks.filters.blur import BlurSpec
from patchlake.tasks.filters.denoise import DenoiseSpec
from patchlake.tasks.filters.stabilise import StabiliseSpec
from patchlake.tasks.types import FrameArray, FrameGrid, FrameSource
from patchlake.tasks.unit.worker_setup import setup

SIZE, ROOM = 224, 38
CLIPS = ("archery.avi", "bottles_table.mp4", "carphone_pristine.mp4", "hitting_baseball.mp4", "nasa_13013.mp4",
         "robot_arm.mp4", "solidWhiteRight_dashcam.mp4", "yoga.mp4")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    setup()
    rows: dict[str, list[list[float]]] = {}
    videos = args.videos or [SHARED / "clips" / name for name in CLIPS]
    for video in videos:
        wide = load(video, args.frames, SIZE + 2 * ROOM)
        clean = wide[:, ROOM:-ROOM, ROOM:-ROOM]
        rng = np.random.default_rng(0)
        found: dict[str, list[float]] = {}
        for sigma in (5, 10, 20):
            noisy = np.clip(np.rint(clean + rng.normal(0, sigma, clean.shape)), 0, 255).astype(np.uint8)
            less, ms = apply(DenoiseSpec(kind="denoise", strength=sigma), noisy)
            found[f"denoise, noise {sigma}: dB before, after, ms a frame"] = [psnr(noisy, clean), psnr(less, clean), ms]
            if sigma == 10:
                by_nlm, ms = non_local_means(noisy[:8], sigma)
                found["  cv2.fastNlMeansDenoisingColored, noise 10"] = [
                    psnr(noisy[:8], clean[:8]), psnr(by_nlm, clean[:8]), ms,
                ]  # fmt: skip
        shaken = shake(wide, rng)
        still, ms = apply(StabiliseSpec(kind="stabilise"), shaken)
        found["stabilise: shake before, after, of the clip itself, ms a frame"] = [
            jitter(shaken), jitter(still), jitter(clean), ms,
        ]  # fmt: skip
        found["stabilise: dB between neighbours before, after, of the clip itself"] = [
            fidelity(shaken), fidelity(still), fidelity(clean),
        ]  # fmt: skip
        found["blur, faces: lbp: ms a frame"] = [apply(BlurSpec(kind="blur", faces="lbp"), clean[:12])[1]]
        print(video.name)
        for name, values in found.items():
            print(f"  {name}: " + ", ".join(f"{value:.2f}" for value in values))
            rows.setdefault(name, []).append(values)
    print(f"mean of {len(videos)} clips")
    for name, several in rows.items():
        print(f"  {name}: " + ", ".join(f"{value:.2f}" for value in np.mean(several, axis=0)))


def load(path: Path, count: int, side: int) -> FrameArray:
    """Return a clip's first frames, `side` pixels square."""
    found: list[Any] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found.append(cv2.resize(frame.to_ndarray(format="rgb24"), (side, side), interpolation=cv2.INTER_AREA))
            if len(found) == count:
                break
    return np.stack(found)


def apply(entry: Any, frames: FrameArray) -> tuple[FrameArray, float]:
    """Return the frames filtered, end frames repeated, and milliseconds a frame."""
    one = filters.build(entry, frames.shape[1:3])
    before, after = one.context_frames
    around = np.concatenate([frames[:1].repeat(before, axis=0), frames, frames[-1:].repeat(after, axis=0)])
    begun = time.thread_time()
    out = one(around, scene(len(around)))
    return out, (time.thread_time() - begun) / len(frames) * 1e3


def scene(count: int) -> filters.Scene:
    """Return a scene in which nothing is hidden."""
    grid = FrameGrid(size=(SIZE, SIZE), fit="crop", fps=None)
    one = Fraction(1)
    source = FrameSource(
        video_id="", uri="/", width=SIZE, height=SIZE, rotation=0, sample_aspect=one, time_base=one, first_pts=0,
        counted=False,
    )  # fmt: skip
    return filters.Scene(source=source, boxes=None, grid=grid, seconds=np.zeros(count))


def non_local_means(frames: FrameArray, sigma: float) -> tuple[FrameArray, float]:
    """Return frames denoised by OpenCV's non-local means, 7x7 patches in 11x11 pixels."""
    begun = time.thread_time()
    found: list[Any] = [cv2.fastNlMeansDenoisingColored(f, None, 0.8 * sigma, 0.8 * sigma, 7, 11) for f in frames]
    return np.stack(found), (time.thread_time() - begun) / len(frames) * 1e3


def shake(frames: FrameArray, rng: np.random.Generator) -> FrameArray:
    """Return the frames' middle as a shaken camera sees it."""
    side, found = frames.shape[1], []
    for frame in frames:
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), rng.normal(0, 0.5), 1)
        matrix[:, 2] += rng.normal(0, 3, 2)
        found.append(cv2.warpAffine(frame, matrix, (side, side), flags=cv2.INTER_CUBIC))
    return np.stack(found)[:, ROOM:-ROOM, ROOM:-ROOM].copy()


def jitter(frames: FrameArray) -> float:
    """Return the median change of the shift between neighbouring frames, pixels."""
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(np.float32) for f in frames]
    window = cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_32F)
    shifts = np.array([cv2.phaseCorrelate(a, b, window)[0] for a, b in pairwise(grey)])
    return float(np.median(np.hypot(*np.diff(shifts, axis=0).T)))


def fidelity(frames: FrameArray) -> float:
    """Return the mean PSNR between neighbouring frames, decibels."""
    return float(np.mean([psnr(a, b) for a, b in pairwise(frames)]))


def psnr(frames: FrameArray, clean: FrameArray) -> float:
    """Return the peak signal-to-noise ratio, decibels."""
    return float(10 * np.log10(255**2 / max(1e-3, np.mean((frames.astype(float) - clean) ** 2))))


if __name__ == "__main__":
    main()
