"""Pooling of per-pixel maps to cells, with results that do not depend on how many frames come at once."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from patchlake.tasks.grid import Grid

Maps = npt.NDArray[np.float32]
Float = type[np.float32] | type[np.float64]
Centres = tuple[tuple[float, ...], tuple[float, ...]]
Real = TypeVar("Real", np.float32, np.float64)


class SpacePool:
    """Means over the y, x cells of a grid: two small matrix products per frame, so overlapping cells cost no more."""

    def __init__(
        self, grid: Grid, frame_size: tuple[int, int], *, parts: tuple[int, int] = (1, 1), dtype: Float = np.float32
    ) -> None:
        """Each cell may be split into (y, x) `parts`, which differ by at most one pixel and become adjacent cells."""
        self._rows = _averages(grid, 1, frame_size[0], parts[0], dtype)
        self._columns = _averages(grid, 2, frame_size[1], parts[1], dtype).T.copy()

    def __call__(self, maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (y, x, channel) cell means of the (channel, height, width) maps of one frame, computed in `dtype`."""
        pooled: npt.NDArray[Any] = np.matmul(self._rows, np.matmul(maps, self._columns))
        return pooled.transpose(1, 2, 0)


def pool_time(rows: npt.NDArray[Real], *, size: int, stride: int) -> npt.NDArray[Real]:
    """Return means of windows of `size` along the first axis, one every `stride`; each window is summed separately."""
    count = max(0, (len(rows) - size) // stride + 1)
    out = np.empty((count, *rows.shape[1:]), dtype=rows.dtype)
    for i in range(count):
        rows[i * stride : i * stride + size].mean(axis=0, out=out[i])
    return out


def cell_centres(grid: Grid, frame_size: tuple[int, int]) -> Centres:
    """Return y and x of the cells' centres in frame-grid pixels (see `Extractor.centres`)."""
    y, x = (tuple(grid.centres(axis, frame_size[axis - 1]).tolist()) for axis in (1, 2))
    return y, x


def _averages(grid: Grid, axis: int, extent: int, parts: int, dtype: Float) -> npt.NDArray[Any]:
    """Return (cells * parts, extent) weights: each row has 1 / length where its part of a cell lies, else 0."""
    starts, size = grid.starts(axis, extent), grid.size[axis]
    out = np.zeros((len(starts) * parts, extent), dtype=dtype)
    for i in range(len(out)):
        cell, part = divmod(i, parts)
        first, stop = (starts[cell] + size * p // parts for p in (part, part + 1))
        out[i, first:stop] = 1 / (stop - first)
    return out
