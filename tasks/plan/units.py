"""From placed spans to units of work; the plan is a value that can be printed and run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from patchlake.tasks import pts
from patchlake.tasks.grid import LEAD_FRAMES, Layout
from patchlake.tasks.types import BoxPath, FrameSource, IntArray, Piece, Placement, ReadRange, Span, Unit

SHORT_UNITS_PER_WORKER = 32
LONG_UNITS_PER_WORKER = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All work to do for a recipe on a lake, before anything runs."""

    placements: tuple[Placement, ...]
    """Every wanted span, including those already in the lake, in row order."""
    new: tuple[Placement, ...]
    """Spans placed by this plan; recorded before any work."""
    units: tuple[Unit, ...]
    """May run in any order on any worker that has the resources they need."""
    num_slots: int
    """Length of the time axis after this plan, in slots."""
    layout: Layout
    surplus: frozenset[str] = frozenset()
    """Keys of spans of decoded frames that the packets had not listed; stored in a second pass."""
    deferred: tuple[Unit, ...] = ()
    """Units that read stored pixels, each once these are committed (`slots_read`); the first to be ready come first."""
    new_tracks: Mapping[str, int] = field(default_factory=dict)
    """track_id -> its number, for tracks first used by this plan."""

    @property
    def all_units(self) -> tuple[Unit, ...]:
        """Units and deferred units."""
        return (*self.units, *self.deferred)

    @property
    def num_slots_written(self) -> int:
        """Slots that any unit writes."""
        return len(self._rows_by_slot())

    @property
    def num_new_rows(self) -> int:
        """Pixel rows of the slots that units write, each counted once."""
        return sum(self._rows_by_slot().values())

    @property
    def padding(self) -> float:
        """Share of the units' rows that are padding."""
        room = self.num_slots_written * self.layout.slot_frames
        return 1 - self.num_new_rows / room if room else 0.0

    def after(self, earlier: Plan) -> Plan:
        """Return this plan with the units of an earlier pass in front."""
        return replace(self, units=(*earlier.units, *self.units), deferred=(*earlier.deferred, *self.deferred))

    def _rows_by_slot(self) -> dict[int, int]:
        pairs = (
            (slot, pieces) for unit in self.all_units for slot, pieces in zip(unit.slots, unit.pieces, strict=True)
        )
        return {slot: sum(piece.num_rows for piece in pieces) for slot, pieces in pairs}


def slots_of(placement: Placement, layout: Layout) -> range:
    """Return the slots that a placed span touches."""
    r = layout.slot_frames
    return range(placement.row_start // r, -(-placement.row_stop // r) if placement.span.num_rows else 0)


def slots_read(unit: Unit, layout: Layout) -> set[int]:
    """Return the slots whose stored pixels a unit may read, including those of its context."""
    r = layout.slot_frames
    row_starts = {piece.span_key: piece.row_start - piece.start for pieces in unit.pieces for piece in pieces}
    extents = [
        (row_starts[read_range.span_key] + read_range.start, row_starts[read_range.span_key] + read_range.stop)
        for read_range in unit.read_ranges
    ]
    return {slot for start, stop in extents for slot in range(start // r, -(-stop // r))}


def in_turn(deferred: Iterable[Unit], units: Sequence[Unit], layout: Layout) -> tuple[Unit, ...]:
    """Return deferred units ordered by when the units that store their pixels may end, then longest first."""
    turns = {slot: i for i, unit in enumerate(units) for slot in unit.slots}

    def key(unit: Unit) -> tuple[Any, ...]:
        last = max((turns.get(slot, -1) for slot in slots_read(unit, layout)), default=-1)
        return last, -unit.num_rows, unit.slots

    return tuple(sorted(deferred, key=key))


def make_units(
    placements: Sequence[Placement],
    sources: Mapping[str, FrameSource],
    boxes: Mapping[str, BoxPath | None],
    missing: Mapping[int, tuple[str, ...]],
    layout: Layout,
    *,
    max_slots: int,
    num_workers: int,
) -> tuple[Unit, ...]:
    """Return units that write the missing products of each slot.

    `placements`: every span that lies in a missing slot; `sources` by video_id; `boxes` by track_id; `missing` maps
    a slot to its missing products. A unit is a run of neighbouring slots that miss the same products, at most
    `max_slots` long; slots of several tracks of one video are neighbours by time. Slots that share no span are
    grouped so that every worker gets many units and none waits long for the last one. Cutting a long span costs
    decoding again from the previous key frame, so it gives a few equally long units per worker, and it is not cut where
    that would be expensive: a span with one key frame is one unit. The longest units come first. How slots are grouped
    never changes what is written.
    """
    by_slot: dict[int, list[Placement]] = {}
    for placement in sorted(placements, key=lambda p: p.row_start):
        for slot in slots_of(placement, layout):
            by_slot.setdefault(slot, []).append(placement)
    wanted = [slot for slot in _in_order(by_slot, layout) if slot in missing]
    short = max(1, min(max_slots, len(wanted) // (num_workers * SHORT_UNITS_PER_WORKER)))
    borders = _borders(len(wanted), max_slots, num_workers)
    cuts = _Cuts(sources, layout)
    groups: list[list[int]] = []
    for i, slot in enumerate(wanted):
        group = groups[-1] if groups else []
        if group and missing[slot] == missing[group[-1]]:
            crossing = [p for p in by_slot[slot] if p.row_start < slot * layout.slot_frames]
            is_beside = _is_beside(by_slot[slot], by_slot[group[-1]])
            is_full = i in borders or len(group) >= max_slots if crossing or is_beside else len(group) >= short
            is_next = slot == group[-1] + 1 or is_beside
            if is_next and (not is_full or cuts.cost_much(crossing, slot, group)):
                group.append(slot)
                continue
        groups.append([slot])
    units = [_unit(group, by_slot, sources, boxes, missing[group[0]], layout) for group in groups]
    return tuple(sorted(units, key=lambda unit: (-unit.num_rows, unit.slots)))


def _borders(num_slots: int, max_slots: int, num_workers: int) -> set[int]:
    """Return where long spans are cut: into equal units, the same number for each worker, so that all end together."""
    per_worker = max(LONG_UNITS_PER_WORKER, -(-num_slots // (max_slots * num_workers)))
    count = per_worker * num_workers
    return {-(-num_slots * i // count) for i in range(count)}


def _in_order(by_slot: Mapping[int, Sequence[Placement]], layout: Layout) -> list[int]:
    """Return slots by number, except that several long tracks of one video are ordered by time, from its first slot."""
    long = [p for p in _once(by_slot) if len(slots_of(p, layout)) > 1]
    tracks: dict[str, set[str]] = {}
    for placement in long:
        tracks.setdefault(placement.span.video_id, set()).add(placement.span.track_id)
    order: dict[int, tuple[int, float]] = {slot: (slot, 0.0) for slot in by_slot}
    for video_id, several in tracks.items():
        if len(several) > 1:
            mine = [p for p in long if p.span.video_id == video_id]
            first = min(slots_of(p, layout)[0] for p in mine)
            order |= {slot: (first, _seconds_at(p, slot, layout)) for p in mine for slot in slots_of(p, layout)}
    return sorted(by_slot, key=lambda slot: (*order[slot], slot))


def _once(by_slot: Mapping[int, Sequence[Placement]]) -> list[Placement]:
    return list({p.span.span_key: p for placements in by_slot.values() for p in placements}.values())


def _seconds_at(placement: Placement, slot: int, layout: Layout) -> float:
    """Return the approximate time of the span's first row in a slot."""
    span = placement.span
    share = max(0, slot * layout.slot_frames - placement.row_start) / span.num_rows
    return span.start_seconds + share * (span.stop_seconds - span.start_seconds)


def _is_beside(here: Sequence[Placement], there: Sequence[Placement]) -> bool:
    """Return whether two slots hold different tracks of one video."""
    videos = {p.span.video_id: p.span.track_id for p in there}
    return any(videos.get(p.span.video_id, p.span.track_id) != p.span.track_id for p in here)


class _Cuts:
    """The cost of starting a unit in the middle of spans."""

    def __init__(self, sources: Mapping[str, FrameSource], layout: Layout) -> None:
        self._sources = sources
        self._r = layout.slot_frames
        self._rows: dict[str, IntArray] = {}

    def cost_much(self, spans: Sequence[Placement], slot: int, group: Sequence[int]) -> bool:
        """Return whether redecoding up to a slot's first row costs more than an eighth of what the group decodes."""
        limit = max(self._r // 2, len(group) * self._r // 8)
        return any(self._again(placement, slot * self._r - placement.row_start) > limit for placement in spans)

    def _again(self, placement: Placement, row: int) -> int:
        """Return the number of rows between a row and the last key frame before it."""
        span = placement.span
        if row <= 0:
            return 0
        if self._sources[span.video_id].counted:
            return span.first_grid_row + row
        if span.span_key not in self._rows:
            self._rows[span.span_key] = np.searchsorted(pts.unpack(span.pts), pts.unpack(span.key_pts), side="left")
        keys = self._rows[span.span_key]
        return row - int(keys[keys <= row][-1:].sum())


def _unit(
    slots: list[int],
    by_slot: Mapping[int, list[Placement]],
    sources: Mapping[str, FrameSource],
    boxes: Mapping[str, BoxPath | None],
    products: tuple[str, ...],
    layout: Layout,
) -> Unit:
    pieces = tuple(tuple(_piece(p, slot, layout) for p in by_slot[slot]) for slot in slots)
    extents: dict[str, tuple[Placement, int, int]] = {}
    for slot, slot_pieces in zip(slots, pieces, strict=True):
        for placement, piece in zip(by_slot[slot], slot_pieces, strict=True):
            _, start, stop = extents.get(piece.span_key, (placement, piece.start, piece.stop))
            extents[piece.span_key] = (placement, min(start, piece.start), max(stop, piece.stop))
    videos = dict.fromkeys(piece.video_id for slot_pieces in pieces for piece in slot_pieces)
    return Unit(
        slots=tuple(slots),
        pieces=pieces,
        decodes=_decodes(list(extents.values()), boxes),
        sources=tuple(sources[video_id] for video_id in videos),
        products=products,
    )


def _decodes(
    extents: Sequence[tuple[Placement, int, int]], boxes: Mapping[str, BoxPath | None]
) -> tuple[tuple[ReadRange, ...], ...]:
    """Return the read ranges of a unit; those of several tracks of one video share a decode if their frames overlap."""
    found: list[tuple[list[ReadRange], Span, int, int]] = []
    for placement, start, stop in extents:
        span = placement.span
        read_range = read_range_of(span, boxes[span.track_id], start, stop)
        shown = pts.unpack(read_range.pts)
        low, high = int(shown[0]), int(shown[-1])
        for i, (ranges, other, other_low, other_high) in enumerate(found):
            is_other_track = other.video_id == span.video_id and other.track_id != span.track_id
            if is_other_track and low <= other_high and other_low <= high:
                ranges.append(read_range)
                found[i] = (ranges, other, min(low, other_low), max(high, other_high))
                break
        else:
            found.append(([read_range], span, low, high))
    return tuple(tuple(ranges) for ranges, *_ in found)


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


def read_range_of(span: Span, boxes: BoxPath | None, start: int, stop: int) -> ReadRange:
    """Return what to decode for rows [start, stop) of a span, with up to LEAD_FRAMES of context on each side."""
    low, high = max(0, start - LEAD_FRAMES), min(span.num_rows, stop + LEAD_FRAMES)
    shown = pts.unpack(span.pts)
    key_pts = pts.unpack(span.key_pts)
    first = shown[low : start + 1]
    useful = key_pts[key_pts <= first[-1]] if first.size else key_pts[:0]
    at = max(0, int(np.searchsorted(useful, first[0], side="right")) - 1) if first.size else 0
    return ReadRange(
        span_key=span.span_key,
        boxes=boxes,
        start=low,
        first_grid_row=span.first_grid_row + low,
        stop=high,
        pts=pts.pack(shown[low:high]),
        stop_pts=int(shown[high]) if high < span.num_rows else span.stop_pts,
        key_pts=tuple(useful[at:].tolist()),
    )
