"""One grid type for patches, tokens, model windows and sampling: only index arithmetic.

extent 11, size 4, stride 3, offset 1:   .xxxx......   cell 0 = [1, 5)
                                         ....xxxx...   cell 1 = [4, 8)
                                         .......xxxx   cell 2 = [7, 11)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from patchlake.tasks.tracks import Affine
from patchlake.tasks.types import Box, FloatArray

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of equal size at a fixed stride, in time, y, x; a cell that would pass the end does not exist."""

    size: Triple
    stride: Triple
    offset: Triple = (0, 0, 0)

    def __post_init__(self) -> None:
        """Refuse sizes and strides below 1 and offsets below 0."""
        if min(self.size) < 1 or min(self.stride) < 1 or min(self.offset) < 0:
            raise ValueError(f"expected size >= 1, stride >= 1, offset >= 0 in time, y, x; got {self}")

    def num_cells(self, axis: int, extent: int) -> int:
        """Return how many whole cells fit in `extent` rows or pixels along an axis (0 time, 1 y, 2 x)."""
        return max(0, (extent - self.offset[axis] - self.size[axis]) // self.stride[axis] + 1)

    def shape(self, extents: Triple) -> Triple:
        """Return the number of cells in time, y, x of a block of frames."""
        return (self.num_cells(0, extents[0]), self.num_cells(1, extents[1]), self.num_cells(2, extents[2]))

    def starts(self, axis: int, extent: int) -> list[int]:
        """Return the first row or pixel of each cell."""
        return [self.offset[axis] + i * self.stride[axis] for i in range(self.num_cells(axis, extent))]

    def centres(self, axis: int, extent: int) -> FloatArray:
        """Return the centre of each cell in frame-grid pixels, where pixel i covers [i, i + 1)."""
        return np.array(self.starts(axis, extent), dtype=np.float64) + self.size[axis] / 2

    def cell(self, index: Triple) -> tuple[slice, slice, slice]:
        """Return the block of a cell as slices in time, y, x."""
        first = [o + i * s for o, i, s in zip(self.offset, index, self.stride, strict=True)]
        t, y, x = (slice(a, a + n) for a, n in zip(first, self.size, strict=True))
        return t, y, x

    def cells_with(self, axis: int, position: int, extent: int) -> range:
        """Return the cells along an axis that contain a row or pixel: none, one, or several if cells overlap."""
        past = position - self.offset[axis]
        first = max(0, -((self.size[axis] - 1 - past) // self.stride[axis]))
        stop = min(self.num_cells(axis, extent), past // self.stride[axis] + 1)
        return range(first, max(first, stop))

    def source_box(self, index: Triple, to_source: Affine) -> Box:
        """Return a cell's box in upright source pixels, given (a, b, c, d, e, f) of `tracks.to_source`."""
        _, ys, xs = self.cell(index)
        a, b, c, d, e, f = to_source
        corners = [(x, y) for x in (xs.start, xs.stop) for y in (ys.start, ys.stop)]
        across = [a * x + b * y + c for x, y in corners]
        down = [d * x + e * y + f for x, y in corners]
        return min(across), min(down), max(across) - min(across), max(down) - min(down)

    def source_seconds(self, cell: int, seconds: FloatArray) -> tuple[float, float]:
        """Return when a time cell's first and last frames are shown, given the times (n,) of a span's frames."""
        rows, _, _ = self.cell((cell, 0, 0))
        return float(seconds[rows.start]), float(seconds[rows.stop - 1])


def centre_seconds(seconds: FloatArray, *, size: int, stride: int) -> FloatArray:
    """Return the centre time of each time cell of a span: midway between its first and its last frame.

    `seconds` are the (n,) times of the span's frames; the result is (rows,) with rows = (n - size) // stride + 1.
    """
    rows = max(0, (len(seconds) - size) // stride + 1)
    first = np.arange(rows) * stride
    return (seconds[first] + seconds[first + size - 1]) / 2


@dataclass(frozen=True, slots=True)
class Layout:
    """A dataset's constants of the row model."""

    slot_frames: int
    """R: pixel rows of a slot."""
    align: int
    """Every span starts on a multiple of this; it divides R, and every product's time stride divides it."""


LEAD_FRAMES = 64
"""Maximum context frames that an extractor may request before or after a frame."""
