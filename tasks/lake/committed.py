"""Which rows of a product exist: those of its receipts, merged into ranges within spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from patchlake.tasks.grid import Grid
from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RowRanges:
    """Ranges [start, stop) of committed rows, in row order; the rows of a range are consecutive within one span."""

    start: IntArray
    stop: IntArray
    track: IntArray

    def rows(self) -> IntArray:
        """Return every committed row, ascending."""
        return _ranges(self.start, self.stop - self.start)

    def cells(self, grid: Grid) -> tuple[IntArray, IntArray]:
        """Return the first row and the track of every time cell; the grid starts at the start of each range.

        A range is a span, unless frames are missing: then no window crosses the gap, and the grid starts again after
        it.
        """
        room = self.stop - self.start - grid.offset[0] - grid.size[0]
        counts = np.maximum(room // grid.stride[0] + 1, 0)
        first = np.repeat(self.start + grid.offset[0], counts)
        nth = _ranges(np.zeros_like(counts), counts)
        return first + nth * grid.stride[0], np.repeat(self.track, counts)


def committed_ranges(lake: Location, product: str) -> RowRanges:
    """Return the committed ranges of a product as it is now; receipts of earlier options or models don't count."""
    tables = Tables(lake)
    receipts = tables.receipts.read(["product", "product_digest", "span_keys", "row_starts", "num_rows"])
    current = pc.equal(receipts["product_digest"], arrays.product_digest(lake, product))
    receipts = receipts.filter(pc.and_(pc.equal(receipts["product"], product), current))
    start, length = (_flat(receipts[name]).to_numpy().astype(np.int64) for name in ("row_starts", "num_rows"))
    coded = pc.dictionary_encode(_flat(receipts["span_keys"]))
    code: npt.NDArray[np.int32] = coded.indices.to_numpy(zero_copy_only=False)
    spans = tables.spans.read(["span_key", "track"])
    number = dict(zip(spans["span_key"].to_pylist(), spans["track"].to_pylist(), strict=True))
    track = np.array([number[key] for key in coded.dictionary.to_pylist()], dtype=np.int64)

    there = np.flatnonzero(length)
    there = there[np.unique(start[there], return_index=True)[1]]  # in row order; a unit may have run twice
    start, stop, code = start[there], (start + length)[there], code[there]
    goes_on = (code[1:] == code[:-1]) & (start[1:] == stop[:-1])
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(start)), dtype=bool), ~goes_on]))
    last = np.concatenate([first[1:] - 1, [len(start) - 1][: len(first)]]).astype(np.int64)
    return RowRanges(start[first], stop[last], track[code[first]])


def committed_slots(tables: Tables) -> dict[str, IntArray]:
    """Return product -> the slots that its receipts name, ascending; none for a product without receipts."""
    receipts = tables.receipts.read(["product", "slots"])
    found = {}
    for name in receipts["product"].unique().to_pylist():
        slots = _flat(receipts.filter(pc.equal(receipts["product"], name))["slots"])
        found[name] = np.unique(slots.to_numpy().astype(np.int64))
    return found


def identity_of(tables: Tables, product: str) -> list[Any]:
    """Return what identifies the committed rows of a product: first row, span and checksum, in row order."""
    columns = ["product", "span_keys", "row_starts", "checksums"]
    rows = [row for row in tables.receipts.rows(columns) if row["product"] == product]
    return sorted(
        [first, span_key, checksum]
        for row in rows
        for first, span_key, checksum in zip(row["row_starts"], row["span_keys"], row["checksums"], strict=True)
    )


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pc.list_flatten(column.combine_chunks())


def _ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return all integers of the ranges [start, start + length), one range after the other."""
    offsets: IntArray = np.cumsum(lengths) - lengths
    steps: IntArray = np.arange(lengths.sum(), dtype=np.int64)
    return steps + np.repeat(starts - offsets, lengths)
