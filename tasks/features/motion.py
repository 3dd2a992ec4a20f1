"""`motion`: frame differences of each patch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.features.pooling import Maps, SpacePool, cell_centres, pool_time
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray


class MotionSpec(FeatureOptions):
    """Energy of frame differences."""

    kind: Literal["motion"]
    least: Annotated[int, Field(ge=1, le=255)] = 16
    """Minimum difference in grey levels of a pixel that counts as changed."""


class Motion(FrameExtractor):
    """Differences between grey frames (ITU-R BT.601 luma) and the frame before, averaged over each patch.

    A frame's difference needs the frame before (context 1, 0); at a span's start the first frame is its own
    predecessor, so its difference is 0. Channels, each a mean over the patch's pixels and frames, D = I(t) - I(t - 1):
    brightening  D, grey levels (-255..255)
    difference   |D|, grey levels (0..255)
    energy       D^2, grey levels squared (0..65025)
    changed      share of pixels with |D| >= `least` grey levels, 0..1

    Source: temporal differencing; its energy after A. Bobick and J. Davis, PAMI 2001 (motion energy images).
    """

    version = 1
    channels: tuple[str, ...] = ("brightening", "difference", "energy", "changed")
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (1, 0)
    needs_gpu = False

    def __init__(self, spec: MotionSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        self._least = spec.least
        self._pool = SpacePool(patches, frame_size)
        self.time_size, self.time_stride = patches.size[0], patches.stride[0]
        self.centres = cell_centres(patches, frame_size)
        self.digest_parts: dict[str, Any] = {"least": spec.least}
        self.attrs: dict[str, Any] = {
            "units": ["grey level", "grey level", "grey level^2", "1"],
            "pooling": "mean over the patch's pixels and frames",
            "method": "this frame's BT.601 luma less the frame before's",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (rows, y, x, 4) for (1 + n, height, width, 3) RGB frames, the first being context."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames]
        per_frame: Maps = np.stack([self._pool(self._maps(now - before)) for before, now in pairwise(grey)])
        return pool_time(per_frame, size=self.time_size, stride=self.time_stride)

    def _maps(self, difference: Maps) -> Maps:
        size = np.abs(difference)
        return np.stack([difference, size, size * size, (size >= self._least).astype(np.float32)])
