"""A unit that does nothing and returns a receipt of real size."""

from __future__ import annotations

import numpy as np

from patchlake.tasks import pts
from patchlake.tasks.types import PIXELS, Piece, PieceFrames, PieceReceipt, Receipt, Unit, UnitResult
from patchlake.tasks.unit.worker_state import Job


def no_op(job: Job, unit: Unit) -> UnitResult:
    """Return what `extract_unit` would, had it written every frame of the unit."""
    pieces = [(slot, piece) for slot, pieces in zip(unit.slots, unit.pieces, strict=True) for piece in pieces]
    return UnitResult(
        unit_id=unit.unit_id,
        receipts=tuple(_receipt(job, unit, name, pieces) for name in unit.products),
        frames=tuple(_frames(piece) for _, piece in pieces),
        num_decoded=unit.num_rows,
        num_redecoded=0,
        seconds=0.0,
    )


def _receipt(job: Job, unit: Unit, name: str, pieces: list[tuple[int, Piece]]) -> Receipt:
    product = job.products[name]
    stride = product.time_stride
    found = []
    for slot, piece in pieces:
        num_rows = piece.num_rows // stride
        centres = np.arange(num_rows) * 1024 * stride
        found.append(
            PieceReceipt(
                span_key=piece.span_key,
                slot=slot,
                row_start=piece.row_start // stride,
                num_rows=num_rows,
                checksum=piece.row_start,
                ticks=b"" if name == PIXELS else pts.pack(centres),
            )
        )
    return Receipt(
        unit_id=unit.unit_id,
        product=name,
        product_digest=product.digest,
        slots=unit.slots,
        pieces=tuple(found),
        num_bytes=0,
        seconds={"decode": 0.0, "compute": 0.0, "write": 0.0},
    )


def _frames(piece: Piece) -> PieceFrames:
    ticks = pts.pack(np.arange(piece.start, piece.stop) * 1024)
    return PieceFrames(
        span_key=piece.span_key, row_start=piece.row_start, num_rows=piece.num_rows, ticks=ticks, pts=b""
    )
