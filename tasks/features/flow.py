"""`flow`: optical flow of each patch."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.features.pooling import SpacePool, cell_centres, pool_time
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

_BINS = 8
_STILL = 0.1
"""Speed in frame-grid pixels per frame below which a pixel counts as still in the histogram."""
_LEAST = 12
"""Minimum pixels of a frame's shorter side: a patch of cv2.DISOpticalFlow, and room to move."""
_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class FlowSpec(FeatureOptions):
    """Dense optical flow and its histogram."""

    kind: Literal["flow"]
    preset: Literal["ultrafast", "fast", "medium"] = "fast"
    """Preset of cv2.DISOpticalFlow, from fast and coarse to slow and fine."""


class Flow(FrameExtractor):
    """Dense optical flow from the previous frame to each frame, and its histogram (HOF), averaged over each patch.

    A frame's flow needs the frame before (context 1, 0); at a span's start the first frame is its own predecessor, so
    its flow is that of a still image. Lengths are frame-grid pixels per frame, x to the right, y down. Channels:
    u, v            mean displacement in x and y
    speed           mean length
    u_std, v_std    standard deviation of u and v over the patch's pixels and frames
    divergence      mean du/dx + dv/dy, 1 / frame (positive: objects come closer)
    curl            mean dv/dx - du/dy, 1 / frame (positive: clockwise on the screen)
    hof_0..hof_7    mean length of the flow whose direction lies in [45 i, 45 (i + 1)) degrees from x towards y,
                    0 elsewhere: the eight sum to the mean speed of the moving pixels
    hof_still       share of pixels that move less than 0.1 pixels, 0..1

    For small frames the finest scale is finer than the preset's: at most log2(longer side / 32), rounded, and
    log2(shorter side / 8), rounded down.

    Source: cv2.DISOpticalFlow (T. Kroeger et al., ECCV 2016); HOF after I. Laptev et al., CVPR 2008.
    """

    version = 3
    channels: tuple[str, ...] = (
        "u", "v", "speed", "u_std", "v_std", "divergence", "curl",
        *(f"hof_{i}" for i in range(_BINS)), "hof_still",
    )  # fmt: skip
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (1, 0)
    needs_gpu = False

    def __init__(self, spec: FlowSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        self._method = method_for(spec.preset, frame_size)
        self._pool = SpacePool(patches, frame_size)
        self.time_size, self.time_stride = patches.size[0], patches.stride[0]
        self.centres = cell_centres(patches, frame_size)
        self.digest_parts: dict[str, Any] = {"preset": spec.preset}
        self.attrs: dict[str, Any] = {
            "units": ["pixel / frame"] * 5 + ["1 / frame"] * 2 + ["pixel / frame"] * _BINS + ["1"],
            "pooling": "mean over the patch's pixels and frames; standard deviation for u_std and v_std",
            "method": f"cv2.DISOpticalFlow, preset {spec.preset}, on BT.601 luma, previous frame to this one",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (rows, y, x, 16) for (1 + n, height, width, 3) RGB frames, the first being context."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        flows = (self._method.calc(before, now, None) for before, now in pairwise(grey))  # type: ignore[call-overload]
        per_frame = np.stack([self._pool(_maps(flow)) for flow in flows])
        pooled = pool_time(per_frame, size=self.time_size, stride=self.time_stride)
        for mean, square in ((0, 3), (1, 4)):  # these maps hold squares: var = E[u^2] - E[u]^2, not below 0
            variance = pooled[..., square] - pooled[..., mean] ** 2
            pooled[..., square] = np.sqrt(np.maximum(variance, 0))
        return pooled


def method_for(preset: str, frame_size: tuple[int, int]) -> cv2.DISOpticalFlow:
    """Return the dense optical flow of a preset for frames of (height, width), at least 12 pixels each."""
    if min(frame_size) < _LEAST:
        raise RecipeError(f"frames.size: got {list(frame_size)}, expected at least {_LEAST} each way for `flow`")
    method = cv2.DISOpticalFlow.create(_PRESETS[preset])
    levels = min(int(math.log2(max(frame_size) / 32) + 0.5), int(math.log2(min(frame_size) / 8)))
    if levels < method.getFinestScale():
        # Otherwise OpenCV picks other levels at the first call: too many for flat frames, where it crashes; and it
        # keeps them, so that the second call gives different bytes than the first.
        method.setFinestScale(max(0, levels))
    return method


def _maps(flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (16, height, width) maps of the (height, width, 2) flow; squares of u and v in place of deviations."""
    u, v = np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1])
    length, angle = cv2.cartToPolar(u, v, angleInDegrees=True)
    maps = np.empty((7 + _BINS + 1, *u.shape), dtype=np.float32)
    maps[0], maps[1], maps[2] = u, v, length
    np.multiply(u, u, out=maps[3])
    np.multiply(v, v, out=maps[4])
    cv2.add(_slope(u, 1, 0), _slope(v, 0, 1), dst=maps[5])
    cv2.subtract(_slope(v, 1, 0), _slope(u, 0, 1), dst=maps[6])
    still = length < _STILL
    which = np.minimum((angle * (_BINS / 360)).astype(np.int8), _BINS - 1)
    which[still] = -1
    for i in range(_BINS):
        np.multiply(length, which == i, out=maps[7 + i])
    maps[7 + _BINS] = still
    return maps


def _slope(field: npt.NDArray[np.float32], dx: int, dy: int) -> npt.NDArray[np.float32]:
    out = cv2.Sobel(field, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8)
    return np.asarray(out, dtype=np.float32)
