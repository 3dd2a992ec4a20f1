"""`corners`: corner responses of each patch."""

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

_BLOCK = 3
"""Side in pixels of the block over which the structure tensor is averaged."""
_UNIT = 255.0**2 / 4
"""Factor on OpenCV's eigenvalues: it uses grey levels 0..1 and divides its Sobel operator by 4, not 8."""


class CornersSpec(FeatureOptions):
    """Harris and Shi-Tomasi responses, and how many corners there are."""

    kind: Literal["corners"]
    k: Annotated[float, Field(gt=0, lt=0.25)] = 0.04
    """Weight of the squared trace in Harris' response."""
    least: Annotated[float, Field(gt=0)] = 100.0
    """Minimum Shi-Tomasi response of a corner, (grey level / pixel)^2; it is also the maximum of its 3x3 pixels."""


class Corners(FrameExtractor):
    """Corner responses of grey frames (ITU-R BT.601 luma), averaged over each patch.

    Both come from the structure tensor M: the mean over 3x3 pixels of the products of dI/dx and dI/dy, in grey levels
    (0..255) per pixel (Sobel 3x3 / 8). Channels, each a mean over the patch's pixels and frames:
    harris      det M - k (trace M)^2, (grey level / pixel)^4: above 0 on corners, below 0 on edges
    shi_tomasi  the smaller eigenvalue of M, (grey level / pixel)^2, 0 or more
    corners     share of pixels that are a corner, 0..1: shi_tomasi is the maximum of its 3x3 pixels, and >= `least`

    Source: cv2.cornerHarris (C. Harris and M. Stephens, 1988), cv2.cornerMinEigenVal (J. Shi and C. Tomasi, CVPR 1994).
    """

    version = 1
    channels: tuple[str, ...] = ("harris", "shi_tomasi", "corners")
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (0, 0)
    needs_gpu = False

    def __init__(self, spec: CornersSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        self._k, self._least = spec.k, spec.least
        self._pool = SpacePool(patches, frame_size)
        self.time_size, self.time_stride = patches.size[0], patches.stride[0]
        self.centres = cell_centres(patches, frame_size)
        self.digest_parts: dict[str, Any] = {"k": spec.k, "least": spec.least}
        self.attrs: dict[str, Any] = {
            "units": ["(grey level / pixel)^4", "(grey level / pixel)^2", "1"],
            "pooling": "mean over the patch's pixels and frames",
            "method": f"cv2.cornerHarris (k {spec.k}) and cv2.cornerMinEigenVal, 3x3 blocks, on BT.601 luma",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (rows, y, x, 3) for (n, height, width, 3) RGB frames."""
        per_frame: Maps = np.stack([self._pool(self._maps(frame)) for frame in frames])
        return pool_time(per_frame, size=self.time_size, stride=self.time_stride)

    def _maps(self, frame: FrameArray) -> Maps:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        maps = np.empty((3, *grey.shape), dtype=np.float32)
        np.multiply(cv2.cornerHarris(grey, _BLOCK, 3, self._k), _UNIT**2, out=maps[0])
        np.multiply(cv2.cornerMinEigenVal(grey, _BLOCK, ksize=3), _UNIT, out=maps[1])
        summit = cv2.dilate(maps[1], np.ones((3, 3), dtype=np.uint8))
        maps[2] = (maps[1] == summit) & (maps[1] >= self._least)
        return maps
