"""Takes apart a unit that kills its workers, to find which piece does it."""

from __future__ import annotations

from dataclasses import replace

from patchlake.tasks.types import Unit


def pieces_of(unit: Unit) -> list[Unit]:
    """Return units of one piece each, in order; each decodes only its own span, and alone.

    A piece is the part of a span in one slot, so the answer does not depend on how slots are grouped into units.
    """
    ranges = {one.span_key: one for one in unit.read_ranges}
    sources = {source.video_id: source for source in unit.sources}
    return [
        replace(
            unit,
            slots=(slot,),
            pieces=((piece,),),
            decodes=((ranges[piece.span_key],),),
            sources=(sources[piece.video_id],),
        )
        for slot, pieces in zip(unit.slots, unit.pieces, strict=True)
        for piece in pieces
    ]
