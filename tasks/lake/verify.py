"""`verify`: whether a lake's rows are still as committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash

from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.schema import Row
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.zarr_config import PLAIN
from patchlake.tasks.storage.location import Location


@dataclass(frozen=True, slots=True)
class _Piece:
    """Committed rows of one span in one shard."""

    unit_id: str
    start: int
    num_rows: int
    checksum: str
    track: int

    @property
    def stop(self) -> int:
        return self.start + self.num_rows


def verify(lake: Location) -> Iterator[str]:
    """Yield a sentence for every piece whose values or coordinates are not as committed."""
    tables = Tables(lake)
    receipts = tables.receipts.rows()
    tracks = {row["span_key"]: row["track"] for row in tables.spans.rows(["span_key", "track"])}
    for name in arrays.product_names(lake):
        key = (name, arrays.product_digest(lake, name))
        mine = [row for row in receipts if (row["product"], row["product_digest"]) == key]
        stored = ProductRows(lake, name, PLAIN)
        for piece in (piece for row in mine for piece in _pieces(row, tracks)):
            if (problem := _problem(stored, piece)) is not None:
                yield f"{name} rows [{piece.start}, {piece.stop}) of unit {piece.unit_id}: {problem}"


def _pieces(receipt: Row, tracks: dict[str, int]) -> Iterator[_Piece]:
    columns = (receipt[name] for name in ("row_starts", "num_rows", "checksums", "span_keys"))
    for start, num_rows, checksum, span_key in zip(*columns, strict=True):
        if num_rows:
            yield _Piece(receipt["unit_id"], start, num_rows, checksum, tracks[span_key])


def _problem(stored: ProductRows, piece: _Piece) -> str | None:
    try:
        rows = stored.read(piece.start, piece.stop)
    except Exception as error:  # anything that codecs raise for a damaged shard
        return f"can't be read: {error}"
    if len(rows.values) != piece.num_rows:
        return f"the array ends at {stored.values.shape[0]}"
    if xxhash.xxh3_64_hexdigest(np.ascontiguousarray(rows.values).data) != piece.checksum:
        return "the values are not those that were committed"
    if (rows.track != piece.track).any():
        return f"the track coordinate is not {piece.track}"
    return "the seconds coordinate has gaps" if np.isnan(rows.seconds).any() else None
