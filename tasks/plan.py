"""From placed spans to units: the plan is a value that can be printed, counted and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from patchlake.tasks import pts
from patchlake.tasks.pack import Layout
from patchlake.tasks.types import FrameSource, Piece, Placement, Run, Span, Unit

LEAD_FRAMES = 64
"""The most context frames that an extractor may ask for before or after a frame."""
SHORT_UNITS_PER_WORKER = 32
LONG_UNITS_PER_WORKER = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that is to be done for a recipe on a lake, before anything runs."""

    placements: tuple[Placement, ...]
    """Every wanted span, those in the lake included, in row order."""
    new: tuple[Placement, ...]
    """Those placed by this plan; recorded before any work."""
    units: tuple[Unit, ...]
    num_slots: int
    """Length of the time axis after this plan, in slots."""
    layout: Layout

    @property
    def num_new_rows(self) -> int:
        """Pixel rows that the units will write."""
        return sum(unit.num_rows for unit in self.units)

    @property
    def padding(self) -> float:
        """Share of the units' rows that no frame fills."""
        room = sum(unit.slot_stop - unit.slot_start for unit in self.units) * self.layout.slot_frames
        return 1 - self.num_new_rows / room if room else 0.0


def slots_of(placement: Placement, layout: Layout) -> range:
    """Return the slots that a placed span touches."""
    r = layout.slot_frames
    return range(placement.row_start // r, -(-placement.row_stop // r) if placement.span.num_rows else 0)


def make_units(
    placements: Sequence[Placement],
    sources: Mapping[str, FrameSource],
    missing: Mapping[int, tuple[str, ...]],
    layout: Layout,
    *,
    max_slots: int,
    num_workers: int,
) -> tuple[Unit, ...]:
    """Return units that write the missing products of each slot.

    `placements`: every span that lies in a missing slot; `sources` by video_id; `missing` maps a slot to the products
    it lacks. A unit is a run of neighbouring slots that lack the same products, at most `max_slots` long. Slots that
    share no span are grouped so that every worker gets many units, lest one waits for the last; cutting a long span
    costs decoding from the key frame before, so its units are a few per worker. The longest come first. How slots are
    grouped never changes what is written.
    """
    by_slot: dict[int, list[Placement]] = {}
    for placement in sorted(placements, key=lambda p: p.row_start):
        for slot in slots_of(placement, layout):
            by_slot.setdefault(slot, []).append(placement)
    wanted = sorted(slot for slot in missing if slot in by_slot)
    short = max(1, min(max_slots, len(wanted) // (num_workers * SHORT_UNITS_PER_WORKER)))
    long = max(1, min(max_slots, -(-len(wanted) // (num_workers * LONG_UNITS_PER_WORKER))))
    groups: list[list[int]] = []
    for slot in wanted:
        last = groups[-1][-1] if groups else None
        if last is not None and slot == last + 1 and missing[slot] == missing[last]:
            shared = any(slots_of(p, layout)[-1] > last for p in by_slot[last])
            if len(groups[-1]) < (long if shared else short):
                groups[-1].append(slot)
                continue
        groups.append([slot])
    units = [_unit(group, by_slot, sources, missing[group[0]], layout) for group in groups]
    return tuple(sorted(units, key=lambda unit: (-unit.num_rows, unit.slot_start)))


def _unit(
    slots: list[int],
    by_slot: Mapping[int, list[Placement]],
    sources: Mapping[str, FrameSource],
    products: tuple[str, ...],
    layout: Layout,
) -> Unit:
    pieces = tuple(tuple(_piece(p, slot, layout) for p in by_slot[slot]) for slot in slots)
    extents: dict[str, tuple[Placement, int, int]] = {}
    for slot, slot_pieces in zip(slots, pieces, strict=True):
        for placement, piece in zip(by_slot[slot], slot_pieces, strict=True):
            start = extents[piece.span_key][1] if piece.span_key in extents else piece.start
            extents[piece.span_key] = (placement, start, piece.stop)
    videos = dict.fromkeys(piece.video_id for slot_pieces in pieces for piece in slot_pieces)
    return Unit(
        slot_start=slots[0],
        slot_stop=slots[-1] + 1,
        pieces=pieces,
        runs=tuple(run_of(placement.span, start, stop) for placement, start, stop in extents.values()),
        sources=tuple(sources[video_id] for video_id in videos),
        products=products,
    )


def _piece(placement: Placement, slot: int, layout: Layout) -> Piece:
    first = max(placement.row_start, slot * layout.slot_frames)
    stop = min(placement.row_stop, (slot + 1) * layout.slot_frames)
    return Piece(
        span_key=placement.span.span_key,
        video_id=placement.span.video_id,
        start=first - placement.row_start,
        stop=stop - placement.row_start,
        span_rows=placement.span.num_rows,
        row_start=first,
    )


def run_of(span: Span, start: int, stop: int) -> Run:
    """Return what to decode for rows [start, stop) of a span, with up to LEAD_FRAMES of context on both sides."""
    low, high = max(0, start - LEAD_FRAMES), min(span.num_rows, stop + LEAD_FRAMES)
    shown = pts.unpack(span.pts)
    key_pts = pts.unpack(span.key_pts)
    before = key_pts[key_pts <= shown[low]] if shown.size else key_pts[:0]
    from_start = span.first_grid_row == 0 and low == 0
    return Run(
        span_key=span.span_key,
        start=low,
        first_grid_row=span.first_grid_row + low,
        stop=high,
        pts=pts.pack(shown[low:high]),
        stop_pts=int(shown[high]) if high < span.num_rows else span.stop_pts,
        seek_pts=None if from_start or not before.size else int(np.max(before)),
    )
