"""`hog`: gradient orientations of each patch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.features.pooling import Maps, SpacePool, cell_centres, pool_time
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

_EPS = 1e-5
_CLIP = 0.2
_STEEPEST = 255
"""Largest difference between two grey levels."""


class HogSpec(FeatureOptions):
    """Histograms of oriented gradients."""

    kind: Literal["hog"]
    cells: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (2, 2)
    """y, x: number of cells; a patch is one block of cells."""
    orientations: Annotated[int, Field(ge=2, le=180)] = 9


class Hog(FrameExtractor):
    """Histograms of oriented gradients of grey frames (ITU-R BT.601 luma): a patch is one block of cells.

    Gradients are differences of the pixels on both sides, I(x + 1) - I(x - 1), and 0 across the frame's border. Cell i
    of n covers the patch's pixels [i h // n, (i + 1) h // n). Its histogram has `orientations` bins of
    180 / orientations degrees (0: the gradient points along x; 90: along y; no sign), each with the mean length of its
    gradients. The block is normalised by L2-Hys: divided by its length, clipped at 0.2, divided by its length again
    (both lengths are sqrt(|v|^2 + 1e-10)). Channels, each the mean over the patch's frames, 0..1, no unit:
    cell_Y_X_B  cell Y, X of the patch, bin B; by default 2x2 cells with 9 bins: 36 channels

    With patches of 16x16 at stride 8 these are the descriptors of N. Dalal and B. Triggs, CVPR 2005, without their
    smoothing between bins and cells. Equal to skimage.feature.hog(block_norm="L2-Hys") where patches start on multiples
    of the cell size. Orientation and length come from a table, so that rounding never decides the bin.
    """

    version = 1
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (0, 0)
    needs_gpu = False

    def __init__(self, spec: HogSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        for axis, parts in enumerate(spec.cells, start=1):
            if parts > patches.size[axis]:
                raise RecipeError(
                    f"features.{spec.name}.cells: got {list(spec.cells)}, expected at most a cell per pixel of "
                    f"patches.size {list(patches.size)}; take fewer cells or larger patches"
                )
        rows, columns = spec.cells
        self._cells, self._bins = spec.cells, spec.orientations
        self._pool = SpacePool(patches, frame_size, parts=spec.cells)
        self._bin_of, self._length_of = _tables(spec.orientations)
        self.channels = tuple(
            f"cell_{y}_{x}_{b}" for y in range(rows) for x in range(columns) for b in range(spec.orientations)
        )
        self.time_size, self.time_stride = patches.size[0], patches.stride[0]
        self.centres = cell_centres(patches, frame_size)
        self.digest_parts: dict[str, Any] = {"cells": list(spec.cells), "orientations": spec.orientations}
        self.attrs: dict[str, Any] = {
            "units": "1",
            "pooling": f"histograms over {rows}x{columns} cells a patch, L2-Hys; then the mean over its frames",
            "method": f"Dalal and Triggs 2005 on BT.601 luma, {spec.orientations} orientations of 180 degrees",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (rows, y, x, channel) for (n, height, width, 3) RGB frames."""
        per_frame: Maps = np.stack([self._blocks(self._pool(self._maps(frame))) for frame in frames])
        return pool_time(per_frame, size=self.time_size, stride=self.time_stride)

    def _maps(self, frame: FrameArray) -> Maps:
        """Return (orientations, height, width): the gradient's length in the map of its bin, 0 in the others."""
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.int32)
        at = np.full(grey.shape, _STEEPEST * (2 * _STEEPEST + 1) + _STEEPEST)  # index of gradient (0, 0)
        at[:, 1:-1] += grey[:, 2:] - grey[:, :-2]
        at[1:-1] += (2 * _STEEPEST + 1) * (grey[2:] - grey[:-2])
        bins, length = self._bin_of.take(at), self._length_of.take(at)
        maps = np.empty((self._bins, *grey.shape), dtype=np.float32)
        for i in range(self._bins):
            np.multiply(length, bins == i, out=maps[i])
        return maps

    def _blocks(self, cells: Maps) -> Maps:
        """Return (y, x, channel) normalised blocks of (y * rows, x * columns, orientations) histograms."""
        (rows, columns), (y, x) = self._cells, map(len, self.centres)
        blocks = cells.reshape(y, rows, x, columns, self._bins).transpose(0, 2, 1, 3, 4).reshape(y, x, -1)
        return _unit(np.minimum(_unit(blocks), _CLIP))


def _unit(blocks: Maps) -> Maps:
    unit: Maps = blocks / np.sqrt(np.sum(blocks * blocks, axis=-1, keepdims=True) + np.float32(_EPS**2))
    return unit


def _tables(orientations: int) -> tuple[npt.NDArray[np.uint8], Maps]:
    """Return bin and length of every integer gradient (dy, dx), at index (dy + 255) * 511 + dx + 255."""
    steps = np.arange(-_STEEPEST, _STEEPEST + 1, dtype=np.float64)
    dy, dx = steps[:, None], steps[None, :]
    degrees = np.round(np.degrees(np.arctan2(dy, dx)), 9) % 180  # rounded, so that 45 is 45 on every processor
    bins = np.minimum(degrees // (180 / orientations), orientations - 1).astype(np.uint8)
    return bins.ravel(), np.hypot(dy, dx).astype(np.float32).ravel()
