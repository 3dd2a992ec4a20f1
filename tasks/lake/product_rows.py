"""The reader of product rows: which rows exist, their tracks, times and values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.layout import ARRAYS, CELL_COORDINATES, PTS_SECONDS, SECONDS, TRACK, values_path
from patchlake.tasks.lake.zarr_config import PLAIN, ZARRS, opening
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import FloatArray, IntArray

Mask = npt.NDArray[np.bool_]
Selection = Mask | IntArray | slice


@dataclass(frozen=True, slots=True, eq=False)
class RowIndex:
    """Rows of a product: number, track and centre time of each."""

    row: IntArray
    """(n,) indices along the product's time axis, ascending."""
    track: npt.NDArray[np.int32]
    """(n,) int32 numbers in the table `tracks`; -1 where nothing is stored (padding, or not committed)."""
    seconds: FloatArray
    """(n,) centre times from the first displayed frame; NaN where nothing is stored."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def exists(self) -> Mask:
        """(n,) whether the row is stored."""
        there: Mask = self.track >= 0
        return there

    def within(self, track: int, start_seconds: float, stop_seconds: float) -> Mask:
        """Return (n,) whether a row is of the track and its centre time lies in [start_seconds, stop_seconds)."""
        inside: Mask = (self.track == track) & (self.seconds >= start_seconds) & (self.seconds < stop_seconds)
        return inside

    def select(self, which: Selection) -> RowIndex:
        """Return a selection of these rows: by a mask (n,), ascending positions, or a slice."""
        return RowIndex(self.row[which], self.track[which], self.seconds[which])


@dataclass(frozen=True, slots=True, eq=False)
class Rows(RowIndex):
    """Rows of a product with their values."""

    values: npt.NDArray[Any]
    """(n, y, x, channel), in the stored type."""

    def select(self, which: Selection) -> Rows:
        """Return a selection of these rows: by a mask (n,), ascending positions, or a slice."""
        return Rows(self.row[which], self.track[which], self.seconds[which], self.values[which])

    def of_track(self, track: int) -> Rows:
        """Return the rows of a track."""
        return self.select(self.track == track)


@dataclass(frozen=True, eq=False)
class ProductRows:
    """One product of a lake, open to read rows [start, stop) of its time axis; arrays are opened on first use.

    `pixels` has its index in every lake, its values only if the recipe keeps frames.
    """

    lake: Location
    name: str
    settings: dict[str, Any] = field(default_factory=lambda: ZARRS)
    """Zarr settings for reading values."""

    @property
    def is_stored(self) -> bool:
        """Whether the lake holds its values."""
        return arrays.product_attrs(self.lake, self.name) is not None

    @cached_property
    def values(self) -> zarr.Array[Any]:
        """The stored (time, y, x, channel) array."""
        with opening(self.settings):
            return arrays.open_array(self.lake, values_path(self.name))

    @cached_property
    def time_stride(self) -> int:
        """Pixel rows per row."""
        return int((arrays.product_attrs(self.lake, self.name) or {"time_stride": 1})["time_stride"])

    @cached_property
    def _track(self) -> zarr.Array[Any]:
        return arrays.open_array(self.lake, f"{self.name}/{TRACK}")

    @cached_property
    def _seconds(self) -> zarr.Array[Any]:
        return arrays.open_array(self.lake, f"{self.name}/{SECONDS}")

    @cached_property
    def pts_seconds(self) -> zarr.Array[Any] | None:
        """(time,) times of the frames shown; None if these are `seconds`. Only `pixels` at a numeric rate has it."""
        if (self.lake / ARRAYS / self.name / PTS_SECONDS).get("zarr.json") is None:
            return None
        return arrays.open_array(self.lake, f"{self.name}/{PTS_SECONDS}")

    @cached_property
    def cells(self) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
        """The coordinates of a row's cells: y (n,), x (n,) and the channels' names."""
        with opening(PLAIN):  # zarrs can't read strings
            y, x, channel = (np.asarray(arrays.open_array(self.lake, f"{self.name}/{c}")[:]) for c in CELL_COORDINATES)
        return y.astype(np.float64), x.astype(np.float64), tuple(map(str, channel))

    def of_pixel_rows(self, start: int, stop: int) -> tuple[int, int]:
        """Return the rows [first, last) of this product that pixel rows [start, stop) touch."""
        return start // self.time_stride, -(-stop // self.time_stride)

    def index(self, start: int = 0, stop: int | None = None) -> RowIndex:
        """Return the index of rows [start, stop), by default to the end; no values are read."""
        track = np.asarray(self._track[start:stop], dtype=np.int32)
        seconds = np.asarray(self._seconds[start:stop], dtype=np.float64)
        return RowIndex(start + np.arange(len(track)), track, seconds)

    def read(self, start: int, stop: int) -> Rows:
        """Return all rows in [start, stop), including those where nothing is stored."""
        index = self.index(start, stop)
        return Rows(index.row, index.track, index.seconds, np.asarray(self.values[start:stop]))

    def chunks(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield the stored rows in [start, stop), a chunk at a time; each chunk is read once."""
        index = self.index(start, stop)
        return self.values_of(index.select(index.exists))

    def values_of(self, index: RowIndex, *, num_bytes: int = 0) -> Iterator[Rows]:
        """Yield rows with their values, a chunk at a time, or several up to `num_bytes`; each chunk is read once."""
        if not len(index):
            return
        chunk_rows = self.values.chunks[0]
        chunk_bytes = chunk_rows * math.prod(self.values.shape[1:]) * self.values.dtype.itemsize
        step = chunk_rows * max(1, num_bytes // max(1, chunk_bytes))
        borders = np.flatnonzero(np.diff(index.row // step)) + 1
        for first, stop in itertools.pairwise([0, *borders.tolist(), len(index)]):
            part = index.select(slice(first, stop))
            low, high = int(part.row[0]), int(part.row[-1]) + 1
            block = np.asarray(self.values[low:high])
            values = block if len(block) == len(part) else block[part.row - low]
            yield Rows(part.row, part.track, part.seconds, values)
