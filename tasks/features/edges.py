"""`edges`: edge strength of each patch."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.features.pooling import SpacePool, cell_centres, pool_time
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray


class EdgesSpec(FeatureOptions):
    """Gradient magnitude and Canny edges."""

    kind: Literal["edges"]
    canny: tuple[float, float] = (100.0, 200.0)
    """Canny's lower and upper threshold, on OpenCV's gradient scale (cv2.Canny, L1, 3x3 Sobel)."""


class Edges(FrameExtractor):
    """Gradients (Sobel 3x3) and Canny edges of grey frames (ITU-R BT.601 luma), averaged over each patch.

    Channels, each a mean over the patch's pixels and frames:
    gradient_x, gradient_y  |dI/dx|, |dI/dy| in grey levels (0..255) per pixel
    magnitude               sqrt((dI/dx)^2 + (dI/dy)^2), the same unit
    canny                   share of pixels on a Canny edge, 0..1

    Source: cv2.Sobel / 8 (so that a ramp of one level per pixel gives 1), cv2.Canny (J. Canny, PAMI 1986).
    """

    version = 3
    channels: tuple[str, ...] = ("gradient_x", "gradient_y", "magnitude", "canny")
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (0, 0)
    needs_gpu = False

    def __init__(self, spec: EdgesSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        self._canny = spec.canny
        self._pool = SpacePool(patches, frame_size)
        self.time_size, self.time_stride = patches.size[0], patches.stride[0]
        self.centres = cell_centres(patches, frame_size)
        self.digest_parts: dict[str, Any] = {"canny": list(spec.canny)}
        self.attrs: dict[str, Any] = {
            "units": ["grey level / pixel", "grey level / pixel", "grey level / pixel", "1"],
            "pooling": "mean over the patch's pixels and frames",
            "method": "cv2.Sobel 3x3 / 8 and cv2.Canny on BT.601 luma",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (rows, y, x, 4) for (n, height, width, 3) RGB frames."""
        per_frame = np.stack([self._pool(self._maps(frame)) for frame in frames])
        return pool_time(per_frame, size=self.time_size, stride=self.time_stride)

    def _maps(self, frame: FrameArray) -> npt.NDArray[np.float32]:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        dx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
        dy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
        edge = cv2.Canny(grey, *self._canny).astype(np.float32) / 255
        return np.stack([np.abs(dx), np.abs(dy), cv2.magnitude(dx, dy), edge])
