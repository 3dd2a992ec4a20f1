"""`denoise`: removes noise, first over time where nothing moves, then in space."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.filters.filter import FilterOptions, Scene
from patchlake.tasks.types import FrameArray

_ALIKE = 5
"""Side in pixels of the square whose mean decides whether two frames look alike."""
_IN_TIME, _IN_SPACE = 0.7, 2.0
"""Differences that count as noise, in standard deviations of the noise: between squares' means, and between pixels."""
_SIGMA_SPACE = 1.5


class DenoiseSpec(FilterOptions):
    """Noise reduction."""

    kind: Literal["denoise"]
    strength: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Standard deviation of the noise in grey levels; a value that is too high removes detail."""
    frames: Annotated[int, Field(ge=0, le=8)] = 2
    """Number of frames before and after that are averaged where they look alike."""


class Denoise:
    """A mean over neighbouring frames, weighted by similarity, then a bilateral filter.

    Frame k has the weight exp(-(d / (0.7 strength))^2) at each pixel and colour, where d is the difference of the 5x5
    means of frame k and this one; so moving objects do not smear. cv2.bilateralFilter (sigma 2 strength in grey levels,
    1.5 pixels in space) removes the remaining noise.

    Source: the range weights of C. Tomasi and R. Manduchi, ICCV 1998, applied over time (E. Bennett and L. McMillan,
    SIGGRAPH 2005). Chosen among OpenCV's filters by PSNR per millisecond: docs/measured.md.
    """

    version = 1

    def __init__(self, spec: DenoiseSpec, frame_size: tuple[int, int]) -> None:
        self._strength, self._frames = spec.strength, spec.frames
        self.context_frames = (spec.frames, spec.frames)
        self.digest_parts: dict[str, Any] = {"strength": spec.strength, "frames": spec.frames}
        differences = np.arange(256) / (_IN_TIME * spec.strength)
        self._weights = np.exp(-(differences**2)).astype(np.float32)

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        """Return (n, height, width, 3) frames for (before + n + after, height, width, 3)."""
        means = [cv2.blur(frame, (_ALIKE, _ALIKE)) for frame in frames]
        out = np.empty_like(frames[self._frames : len(frames) - self._frames])
        for i in range(len(out)):
            mean = np.rint(self._mean(frames, means, i + self._frames)).astype(np.uint8)
            cv2.bilateralFilter(mean, 0, _IN_SPACE * self._strength, _SIGMA_SPACE, dst=out[i])
        return out

    def _mean(self, frames: FrameArray, means: list[Any], at: int) -> npt.NDArray[np.float32]:
        """Return the weighted mean of a frame and its neighbours, in float."""
        total: Any = frames[at].astype(np.float32)
        weight: Any = np.ones_like(total)
        for k in range(at - self._frames, at + self._frames + 1):
            if k != at:
                alike = cv2.LUT(cv2.absdiff(means[k], means[at]), self._weights)
                cv2.add(total, cv2.multiply(alike, frames[k], dtype=cv2.CV_32F), dst=total)
                cv2.add(weight, alike, dst=weight)
        mean: npt.NDArray[np.float32] = cv2.divide(total, weight)
        return mean
