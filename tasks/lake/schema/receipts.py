"""The tables `receipts` (which rows exist), `failures` (which could not be computed) and `runs` (which run did it)."""

from __future__ import annotations

import pyarrow as pa

from patchlake.tasks.lake.schema.columns import LONG, LONGS, REAL, TEXT, TEXTS, Row, TableSchema, layout
from patchlake.tasks.types import PieceFrames, Placement, Receipt

RECEIPTS = TableSchema(
    "receipts",
    {
        "unit_id": TEXT,
        "product": TEXT,
        "product_digest": TEXT,
        "span_keys": TEXTS,
        "slots": LONGS,
        "row_starts": LONGS,
        "num_rows": LONGS,
        "checksums": TEXTS,
        "num_bytes": LONG,
        "decode_seconds": REAL,
        "compute_seconds": REAL,
        "write_seconds": REAL,
        "wait_seconds": REAL,
    },
)
FAILURES = TableSchema(
    "failures",
    {
        "span_key": layout(TEXT),
        "video_id": TEXT,
        "row_start": layout(LONG),
        "num_rows": layout(LONG),
        "num_rows_planned": layout(LONG),
        "reason": layout(TEXT),
        "message": TEXT,
        "surplus": pa.binary(),
    },
)
RUNS = TableSchema(
    "runs",
    {
        "run_id": TEXT,
        "started": pa.timestamp("us", "UTC"),
        "stopped": pa.timestamp("us", "UTC"),
        "version": TEXT,
        "recipe": TEXT,
        "figures": TEXT,
    },
)


def receipt_row(receipt: Receipt) -> Row:
    """Return the row of `receipts`: lists hold one value per piece, checksums are xxh3-64 in hexadecimal."""
    pieces = receipt.pieces
    seconds: dict[str, float | None] = {name: None for name in RECEIPTS.columns if name.endswith("_seconds")}
    seconds |= {"wait_seconds": 0.0, **{f"{name}_seconds": spent for name, spent in receipt.seconds.items()}}
    return RECEIPTS.row(
        receipt,
        span_keys=[piece.span_key for piece in pieces],
        slots=[piece.slot for piece in pieces],
        row_starts=[piece.row_start for piece in pieces],
        num_rows=[piece.num_rows for piece in pieces],
        checksums=[f"{piece.checksum:016x}" for piece in pieces],
        **seconds,
    )


def failure_row(piece: PieceFrames, placement: Placement, *, slot_frames: int) -> Row:
    """Return the row of `failures` of a piece that has fewer frames than planned, or a reason to record."""
    slot_stop = (piece.row_start // slot_frames + 1) * slot_frames
    return FAILURES.row(
        piece,
        video_id=placement.span.video_id,
        num_rows_planned=min(slot_stop, placement.row_stop) - piece.row_start,
    )
