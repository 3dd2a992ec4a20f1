"""`stabilise`: smooths the camera's path."""

from __future__ import annotations

import cmath
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.filters.filter import FilterOptions, Scene
from patchlake.tasks.filters.memo import Memo
from patchlake.tasks.types import FrameArray

_BORDERS = {"replicate": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101, "black": cv2.BORDER_CONSTANT}
_CORNERS, _QUALITY = 200, 0.01
_LEAST, _LEAST_SHARE = 8, 0.4
"""Minimum number of points, and minimum share of all tracked points, that one motion must explain."""
_THERE_AND_BACK = 0.5
"""Maximum error in pixels of a point tracked to the next frame and back."""
_MEMO = 512


class StabiliseSpec(FilterOptions):
    """Camera stabilisation."""

    kind: Literal["stabilise"]
    frames: Annotated[int, Field(ge=1, le=32)] = 15
    """Frames before and after over which the camera's path is smoothed."""
    reach: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Maximum shift of a frame, as a share of its shorter side."""
    border: Literal["replicate", "reflect", "black"] = "replicate"
    """How to fill the area that the moved frame does not cover."""


class Motion(NamedTuple):
    """z -> turn * z + shift, with points as complex numbers x + iy from the frame's centre: rotation, zoom, shift."""

    turn: complex
    shift: complex

    def then(self, other: Motion) -> Motion:
        """Return this motion followed by another."""
        return Motion(other.turn * self.turn, other.turn * self.shift + other.shift)

    def back(self) -> Motion:
        """Return the inverse motion."""
        return Motion(1 / self.turn, -self.shift / self.turn)


STILL = Motion(1 + 0j, 0j)


class Stabilise:
    """Each frame warped to where a smoother camera would have seen it.

    Between neighbouring frames, corners (cv2.goodFeaturesToTrack) are tracked forward and back by
    cv2.calcOpticalFlowPyrLK, and cv2.estimateAffinePartial2D (RANSAC with a fixed seed) estimates rotation, zoom and
    shift. Relative to a frame, the camera's path over `frames` frames before and after is the product of these motions;
    the frame is warped by the path's mean (Gaussian weights, sigma frames / 2), shifted at most by `reach`. The path is
    computed for each frame separately, over a bounded time, so nothing depends on where decoding began. Where fewer
    than 8 points, or less than 40 % of those tracked, agree (a cut, a flat or black frame), the camera is taken as
    still.

    Source: path smoothing after Y. Matsushita et al., PAMI 2006; B. Lucas and T. Kanade, IJCAI 1981.
    """

    version = 1

    def __init__(self, spec: StabiliseSpec, frame_size: tuple[int, int]) -> None:
        self._frames, self._border = spec.frames, _BORDERS[spec.border]
        self._reach = spec.reach * min(frame_size)
        self.context_frames = (spec.frames, spec.frames)
        self.digest_parts: dict[str, Any] = spec.model_dump(exclude={"kind"})
        steps = np.arange(-spec.frames, spec.frames + 1)
        weights = np.exp(-0.5 * (steps / (spec.frames / 2)) ** 2)
        self._weights: list[float] = (weights / weights.sum()).tolist()
        self._motion = Memo(motion_between, most=_MEMO)

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        """Return (n, height, width, 3) frames for (before + n + after, height, width, 3)."""
        motions = [self._motion(one, other) for one, other in pairwise(frames)]
        out = np.empty_like(frames[self._frames : len(frames) - self._frames])
        for i in range(len(out)):
            move = self._smoothed(motions, i + self._frames)
            self._warp(frames[i + self._frames], move, out[i])
        return out

    def _smoothed(self, motions: list[Motion], at: int) -> Motion:
        """Return the mean of the path around a frame, relative to it."""
        log, shift = 0j, 0j
        for way, step in ((1, STILL), (-1, STILL)):
            for k in range(1, self._frames + 1):
                step = step.then(motions[at + k - 1] if way == 1 else motions[at - k].back())
                weight = self._weights[self._frames + way * k]
                log, shift = log + weight * cmath.log(step.turn), shift + weight * step.shift
        if abs(shift) > self._reach:
            shift *= self._reach / abs(shift)
        return Motion(cmath.exp(log), shift)

    def _warp(self, frame: FrameArray, move: Motion, out: FrameArray) -> None:
        height, width = frame.shape[:2]
        matrix = _matrix(move, height, width)
        cv2.warpAffine(frame, matrix, (width, height), dst=out, flags=cv2.INTER_CUBIC, borderMode=self._border)


def motion_between(one: FrameArray, other: FrameArray) -> Motion:
    """Return the motion of the picture from one (height, width, 3) frame to another; STILL if unknown."""
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (one, other))
    height, width = before.shape
    apart = max(4, min(height, width) // 40)
    starts: Any = cv2.goodFeaturesToTrack(before, _CORNERS, _QUALITY, apart)
    if starts is None or len(starts) < _LEAST:
        return STILL
    ends, found, _ = cv2.calcOpticalFlowPyrLK(before, after, starts, None)  # type: ignore[call-overload]
    again, refound, _ = cv2.calcOpticalFlowPyrLK(after, before, ends, None)  # type: ignore[call-overload]
    missed = np.abs(again - starts).max(axis=(1, 2))
    kept = (found[:, 0] == 1) & (refound[:, 0] == 1) & (missed < _THERE_AND_BACK)
    if kept.sum() < _LEAST:
        return STILL
    centre = np.array([(width - 1) / 2, (height - 1) / 2], dtype=np.float32)
    matrix, inside = cv2.estimateAffinePartial2D(starts[kept] - centre, ends[kept] - centre, ransacReprojThreshold=1.0)
    if matrix is None or inside.sum() < max(_LEAST, _LEAST_SHARE * kept.sum()):
        return STILL
    return Motion(complex(matrix[0, 0], matrix[1, 0]), complex(matrix[0, 2], matrix[1, 2]))


def _matrix(move: Motion, height: int, width: int) -> npt.NDArray[np.float64]:
    """Return the 2x3 matrix of a motion, for coordinates whose origin is the upper left pixel's centre."""
    a, b = move.turn.real, move.turn.imag
    x, y = (width - 1) / 2, (height - 1) / 2
    dx, dy = move.shift.real + x - a * x + b * y, move.shift.imag + y - b * x - a * y
    return np.array([[a, -b, dx], [b, a, dy]])
