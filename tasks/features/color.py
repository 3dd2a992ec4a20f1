"""`color`: colour statistics of each patch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.features.pooling import Maps, SpacePool, cell_centres, pool_time
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

_RGB = ("red", "green", "blue")
_HUES = 180
"""OpenCV's 8-bit hue has 180 steps of 2 degrees."""


class ColorSpec(FeatureOptions):
    """Colour statistics and histograms."""

    kind: Literal["color"]
    bins: Annotated[int, Field(ge=2, le=32)] = 8
    """Number of bins of the hue histogram and of the luma histogram."""
    colorless: Annotated[int, Field(ge=1, le=255)] = 32
    """Saturation (0..255) below which a pixel has no hue."""


class Color(FrameExtractor):
    """Means, deviations and histograms of the patch's colours.

    Each is computed over the patch's pixels and frames; each histogram has n = `bins` bins. Channels:
    red, green, blue              mean, grey levels (0..255)
    red_std, green_std, blue_std  standard deviation, grey levels (0..127.5)
    hue_0..hue_(n-1)              share of pixels with hue in [360 i / n, 360 (i + 1) / n) degrees (0 red, 120 green,
                                  240 blue) and at least the saturation `colorless` (of 255), 0..1
    colorless                     share of less saturated pixels; together with the hues it sums to 1
    luma_0..luma_(n-1)            share of pixels with ITU-R BT.601 luma in [256 i / n, 256 (i + 1) / n); they sum to 1

    Source: cv2.cvtColor (RGB2HSV: hue in steps of 2 degrees; RGB2GRAY); histograms after M. Swain and D. Ballard,
    IJCV 1991. Levels are summed in float64, so that the deviation of a flat patch is 0.
    """

    version = 1
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (0, 0)
    needs_gpu = False

    def __init__(self, spec: ColorSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        bins, self._bins = range(spec.bins), spec.bins
        self._colorless = spec.colorless
        self._pool_levels = SpacePool(patches, frame_size, dtype=np.float64)
        self._pool_shares = SpacePool(patches, frame_size)
        levels = np.arange(256)
        self._hue_bin = (np.minimum(levels, _HUES - 1) * spec.bins // _HUES).astype(np.uint8)
        self._luma_bin = (levels * spec.bins // 256).astype(np.uint8)
        self.channels = (
            *_RGB, *(f"{name}_std" for name in _RGB),
            *(f"hue_{i}" for i in bins), "colorless", *(f"luma_{i}" for i in bins),
        )  # fmt: skip
        self.time_size, self.time_stride = patches.size[0], patches.stride[0]
        self.centres = cell_centres(patches, frame_size)
        self.digest_parts: dict[str, Any] = {"bins": spec.bins, "colorless": spec.colorless}
        self.attrs: dict[str, Any] = {
            "units": ["grey level"] * 6 + ["1"] * (2 * spec.bins + 1),
            "pooling": "mean over the patch's pixels and frames; standard deviation for *_std",
            "method": "RGB; hue of cv2.COLOR_RGB2HSV; BT.601 luma",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (rows, y, x, channel) for (n, height, width, 3) RGB frames."""
        per_frame: npt.NDArray[np.float64] = np.stack([self._cells(frame) for frame in frames])
        pooled = pool_time(per_frame, size=self.time_size, stride=self.time_stride)
        mean, square = pooled[..., :3], pooled[..., 3:6]  # these maps hold squares: var = E[v^2] - E[v]^2
        square[:] = np.sqrt(np.maximum(square - mean**2, 0))
        return pooled.astype(np.float32)

    def _cells(self, frame: FrameArray) -> npt.NDArray[np.float64]:
        """Return (y, x, channel) means over each cell of a frame; mean squares in place of deviations."""
        levels = np.empty((6, *frame.shape[:2]))
        levels[:3] = frame.transpose(2, 0, 1)
        np.multiply(levels[:3], levels[:3], out=levels[3:])
        return np.concatenate([self._pool_levels(levels), self._pool_shares(self._shares(frame))], axis=-1)

    def _shares(self, frame: FrameArray) -> Maps:
        """Return (2 bins + 1, height, width): 1 in the map of the pixel's hue bin and of its luma bin, else 0."""
        hues, saturation, _ = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV))
        hue = cv2.LUT(hues, self._hue_bin)
        hue[saturation < self._colorless] = self._bins
        luma = cv2.LUT(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), self._luma_bin)
        maps = np.empty((2 * self._bins + 1, *hue.shape), dtype=np.float32)
        for i in range(self._bins + 1):
            maps[i] = hue == i
        for i in range(self._bins):
            maps[self._bins + 1 + i] = luma == i
        return maps
