"""Patches of a grid as a network's inputs, cropped only when their batch is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray


class Crops:
    """The patches of a grid over frames of one size."""

    def __init__(self, grid: Grid, frame_size: tuple[int, int], times: Sequence[Sequence[int]]) -> None:
        """`times`: for each input of a patch, the indices of the patch's frames that it consists of."""
        self._grid = grid
        self._times = np.asarray(times, dtype=np.int64)
        self._starts = (grid.starts(1, frame_size[0]), grid.starts(2, frame_size[1]))
        self.centres = (
            tuple(grid.centres(1, frame_size[0]).tolist()),
            tuple(grid.centres(2, frame_size[1]).tolist()),
        )

    def of(self, frames: FrameArray) -> CropInputs:
        """Return the inputs from (n, height, width, 3) frames."""
        rows = max(0, (len(frames) - self._grid.size[0]) // self._grid.stride[0] + 1)
        shape = (rows, len(self._times), len(self._starts[0]), len(self._starts[1]))
        return CropInputs(frames, self._grid, self._times, self._starts, shape)


@dataclass(frozen=True)
class CropInputs:
    """Inputs, ordered by row, input of the patch, y, x."""

    frames: FrameArray
    grid: Grid
    times: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    starts: tuple[list[int], list[int]]
    shape: tuple[int, int, int, int]

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def take(self, start: int, stop: int) -> FrameArray:
        """Return inputs [start, stop) as (n, T, height, width, 3)."""
        _, height, width = self.grid.size
        out = np.empty((stop - start, self.times.shape[1], height, width, 3), dtype=np.uint8)
        for i, (row, k, y, x) in enumerate(zip(*np.unravel_index(range(start, stop), self.shape), strict=True)):
            top, left = self.starts[0][y], self.starts[1][x]
            shown = row * self.grid.stride[0] + self.times[k]
            out[i] = self.frames[shown, top : top + height, left : left + width]
        return out
