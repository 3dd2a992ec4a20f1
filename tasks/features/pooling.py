"""Pooling of per-pixel maps to cells, in an order that does not depend on how many frames come at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from patchlake.tasks.grid import Grid

Maps = npt.NDArray[np.float32]


class SpacePool:
    """Means over the y, x cells of a grid: two small matrix products a frame, so overlapping cells cost the same."""

    def __init__(self, grid: Grid, frame_size: tuple[int, int]) -> None:
        self._rows = _averages(grid, 1, frame_size[0])
        self._columns = _averages(grid, 2, frame_size[1]).T.copy()

    def __call__(self, maps: Maps) -> Maps:
        """Return (y, x, channel) cell means of the (channel, height, width) maps of one frame."""
        pooled: Maps = np.matmul(self._rows, np.matmul(maps, self._columns))
        return pooled.transpose(1, 2, 0)


def pool_time(rows: Maps, *, size: int, stride: int) -> Maps:
    """Return means of windows of `size` along the first axis, one every `stride`; each is summed on its own."""
    count = max(0, (len(rows) - size) // stride + 1)
    out = np.empty((count, *rows.shape[1:]), dtype=np.float32)
    for i in range(count):
        rows[i * stride : i * stride + size].mean(axis=0, out=out[i])
    return out


def _averages(grid: Grid, axis: int, extent: int) -> Maps:
    """Return (cells, extent): row i has 1 / size where cell i lies."""
    out = np.zeros((grid.num_cells(axis, extent), extent), dtype=np.float32)
    for i, start in enumerate(grid.starts(axis, extent)):
        out[i, start : start + grid.size[axis]] = 1 / grid.size[axis]
    return out
