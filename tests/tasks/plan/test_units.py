"""Units write every missing product of every slot exactly once, and say what to decode for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Stream, a_source, a_span, layouts, streams

from patchlake.tasks import pts
from patchlake.tasks.grid import LEAD_FRAMES, Layout
from patchlake.tasks.plan.pack import Load, pack
from patchlake.tasks.plan.units import Plan, in_turn, make_units, read_range_of, slots_of, slots_read
from patchlake.tasks.types import BoxPath, FrameSource, Placement, Unit

quick = settings(max_examples=150, deadline=None)
PRODUCTS = [("pixels",), ("pixels", "flow"), ("flow",)]
Missing = dict[int, tuple[str, ...]]
WHOLE: Mapping[str, BoxPath | None] = defaultdict(lambda: None)


def placed(
    lengths: list[int], layout: Layout, *, num_videos: int = 3
) -> tuple[list[Placement], dict[str, FrameSource]]:
    """Pack spans of such lengths, of a few videos."""
    rows, _ = pack([Load(((f"s{i}", n),)) for i, n in enumerate(lengths)], layout, first_slot=0)
    videos = [f"v{i % num_videos}" for i in range(len(lengths))]
    spans = [
        a_span(f"s{i}", n, video_id=video, gop=1) for (i, n), video in zip(enumerate(lengths), videos, strict=True)
    ]
    sources = {video: a_source(video) for video in videos}
    return [Placement(span=span, track=i, row_start=rows[span.span_key]) for i, span in enumerate(spans)], sources


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Placement], dict[str, FrameSource], Missing, Layout]:
    """Placed spans, and a choice of slots that lack products."""
    layout = draw(layouts())
    lengths = draw(st.lists(st.integers(0, 5 * layout.slot_frames), min_size=1, max_size=10))
    placements, sources = placed(lengths, layout)
    slots = sorted({slot for p in placements for slot in slots_of(p, layout)})
    missing = {slot: draw(st.sampled_from(PRODUCTS)) for slot in slots if draw(st.integers(0, 4))}
    return placements, sources, missing, layout


def slot_pieces(units: tuple[Unit, ...]) -> dict[int, tuple]:
    return {slot: pieces for u in units for slot, pieces in zip(u.slots, u.pieces, strict=True)}


@quick
@given(case=cases(), max_slots=st.integers(1, 6), num_workers=st.integers(1, 4))
def test_each_missing_product_of_each_slot_is_in_one_unit(case, max_slots: int, num_workers: int) -> None:
    placements, sources, missing, layout = case
    units = make_units(placements, sources, WHOLE, missing, layout, max_slots=max_slots, num_workers=num_workers)
    written = Counter((slot, name) for unit in units for slot in unit.slots for name in unit.products)
    assert written == Counter((slot, name) for slot, names in missing.items() for name in names)
    for unit in units:
        assert 1 <= len(unit.slots) <= max_slots
        assert len(unit.pieces) == len(unit.slots)
    ids = [unit.unit_id for unit in units]
    assert len(ids) == len(set(ids))
    rows = [unit.num_rows for unit in units]
    assert rows == sorted(rows, reverse=True), "the longest come first, lest one worker ends late"


@quick
@given(case=cases(), max_slots=st.integers(1, 6))
def test_the_rows_of_pieces_are_those_of_placements(case, max_slots: int) -> None:
    placements, sources, missing, layout = case
    r = layout.slot_frames
    units = make_units(placements, sources, WHOLE, missing, layout, max_slots=max_slots, num_workers=1)
    by_key = {p.span.span_key: p for p in placements}
    rows: Counter[tuple[str, int, int]] = Counter()
    for slot, pieces in slot_pieces(units).items():
        assert [p.row_start for p in pieces] == sorted(p.row_start for p in pieces)
        for piece in pieces:
            assert 0 <= piece.start < piece.stop <= piece.span_rows == by_key[piece.span_key].span.num_rows
            assert slot * r <= piece.row_start < piece.row_start + piece.num_rows <= (slot + 1) * r
            rows.update((piece.span_key, piece.start + i, piece.row_start + i) for i in range(piece.num_rows))
    expected = {
        (p.span.span_key, i, p.row_start + i)
        for p in placements
        for i in range(p.span.num_rows)
        if (p.row_start + i) // r in missing
    }
    assert rows == Counter(expected)
    assert sum(unit.num_rows for unit in units) == len(expected)


@quick
@given(case=cases(), one=st.integers(1, 9), other=st.integers(1, 9), num_workers=st.integers(1, 64))
def test_how_slots_are_grouped_changes_no_piece(case, one: int, other: int, num_workers: int) -> None:
    placements, sources, missing, layout = case
    first = make_units(placements, sources, WHOLE, missing, layout, max_slots=one, num_workers=1)
    second = make_units(placements[::-1], sources, WHOLE, missing, layout, max_slots=other, num_workers=num_workers)
    assert slot_pieces(first) == slot_pieces(second)


@quick
@given(case=cases(), max_slots=st.integers(1, 6))
def test_a_unit_reads_each_span_once_and_knows_its_videos(case, max_slots: int) -> None:
    placements, sources, missing, layout = case
    for unit in make_units(placements, sources, WHOLE, missing, layout, max_slots=max_slots, num_workers=1):
        pieces = [piece for slot in unit.pieces for piece in slot]
        assert [read_range.span_key for read_range in unit.read_ranges] == list(
            dict.fromkeys(p.span_key for p in pieces)
        )
        assert [s.video_id for s in unit.sources] == list(dict.fromkeys(p.video_id for p in pieces))
        for read_range in unit.read_ranges:
            own = [p for p in pieces if p.span_key == read_range.span_key]
            assert read_range.start == max(0, own[0].start - LEAD_FRAMES)
            assert read_range.stop == min(own[0].span_rows, own[-1].stop + LEAD_FRAMES)


def test_every_worker_gets_many_units_and_none_is_longer_than_allowed() -> None:
    layout = Layout(8, 8)

    def lengths(rows: list[int], max_slots: int, num_workers: int) -> list[int]:
        placements, sources = placed(rows, layout)
        missing = dict.fromkeys(range(sum(rows) // 8), ("pixels",))
        units = make_units(placements, sources, WHOLE, missing, layout, max_slots=max_slots, num_workers=num_workers)
        return [len(unit.slots) for unit in units]

    assert lengths([8] * 96, 8, 1) == [3] * 32
    assert lengths([8] * 96, 2, 1) == [2] * 48
    assert lengths([8] * 96, 8, 4) == [1] * 96
    assert lengths([8 * 12], 8, 1) == [4] * 3, "a long span is cut a few times only"
    assert lengths([8 * 12], 2, 1) == [2] * 6
    assert lengths([8 * 12], 8, 4) == [1] * 12


def test_a_plan_counts_rows_and_padding() -> None:
    layout = Layout(16, 8)
    placements, sources = placed([20, 8, 0], layout)
    units = make_units(placements, sources, WHOLE, {0: ("pixels",), 1: ("pixels",)}, layout, max_slots=4, num_workers=1)
    plan = Plan(placements=tuple(placements), new=(), units=units, num_slots=2, layout=layout)
    assert plan.num_new_rows == 28
    assert plan.padding == pytest.approx(1 - 28 / 32)
    empty = Plan(placements=(), new=(), units=(), num_slots=0, layout=layout)
    assert (empty.num_new_rows, empty.padding) == (0, 0.0)


def test_slots_of_a_placed_span() -> None:
    layout = Layout(16, 8)

    def touched(row_start: int, num_rows: int) -> list[int]:
        return list(slots_of(Placement(span=a_span("s", num_rows), track=0, row_start=row_start), layout))

    assert touched(16, 16) == [1]
    assert touched(16, 17) == [1, 2]
    assert touched(24, 8) == [1]
    assert touched(0, 40) == [0, 1, 2]
    assert touched(32, 0) == []


@st.composite
def cut_runs(draw: st.DrawFn) -> tuple[Stream, int, int, int, int]:
    """A stream, the rows of a span of it, and the rows of a part of that span."""
    stream = draw(streams(max_frames=200))
    n = len(stream.index.pts)
    first = draw(st.integers(0, n - 1))
    past = draw(st.integers(first + 1, n))
    start = draw(st.integers(0, past - first - 1))
    return stream, first, past, start, draw(st.integers(start + 1, past - first))


@quick
@given(case=cut_runs())
def test_a_run_seeks_at_or_before_its_first_frame_and_stops_after_its_last(case) -> None:
    stream, first, past, start, stop = case
    all_pts, all_keys = stream.index.pts, stream.index.pts[stream.index.key_rows]
    shown = all_pts[first:past]
    span = a_span("s", len(shown))
    span_keys = [k for k in all_keys if k <= shown[-1] and k >= max(key for key in all_keys if key <= shown[0])]
    changes = {"pts": pts.pack(shown), "key_pts": pts.pack(np.array(span_keys)), "first_grid_row": first}
    span_stop = int(all_pts[past]) if past < len(all_pts) else None
    fields = {name: getattr(span, name) for name in span.__dataclass_fields__}
    span = type(span)(**{**fields, **changes, "stop_pts": span_stop})
    read_range = read_range_of(span, None, start, stop)
    low, high = max(0, start - LEAD_FRAMES), min(len(shown), stop + LEAD_FRAMES)
    assert (read_range.start, read_range.stop, read_range.first_grid_row) == (low, high, first + low)
    assert pts.unpack(read_range.pts).tolist() == shown[low:high].tolist()
    following = all_pts[first + high :]
    assert read_range.stop_pts == (int(following[0]) if len(following) else None)
    reachable = [int(k) for k in all_keys if k <= shown[start]]
    assert list(read_range.key_pts) == [k for k in reachable if k >= max(k for k in reachable if k <= shown[low])]


def test_a_run_of_a_late_span_seeks_even_at_its_first_row() -> None:
    span = a_span("s", 500, first_grid_row=100, gop=24)
    assert read_range_of(span, None, 0, 10).key_pts == (96,)
    assert read_range_of(span, None, 200, 210).key_pts == (216, 240, 264, 288)  # 236 is the first row read: 300 - 64
    assert read_range_of(span, None, 490, 500).stop_pts == 600
    assert read_range_of(a_span("s", 500), None, 0, 10).key_pts == (0,)
    assert read_range_of(a_span("s", 500), None, 200, 210).key_pts == (
        132,
        144,
        156,
        168,
        180,
        192,
    )  # 136 is the first read


@quick
@given(case=cases(), max_slots=st.integers(1, 6), order=st.randoms())
def test_deferred_units_come_once_their_pixels_may_be_there(case, max_slots: int, order) -> None:
    """What they read are all slots with rows that they write or may look at; none before its last one is written."""
    placements, sources, missing, layout = case
    first = make_units(placements, sources, WHOLE, missing, layout, max_slots=max_slots, num_workers=2)
    deep = dict.fromkeys(missing, ("deep",))
    deferred = list(make_units(placements, sources, WHOLE, deep, layout, max_slots=max_slots, num_workers=1))
    order.shuffle(deferred)
    r, extents = layout.slot_frames, {p.span.span_key: p for p in placements}
    turns = []
    for unit in in_turn(deferred, first, layout):
        wanted = set()
        for piece in (piece for pieces in unit.pieces for piece in pieces):
            begin, end = extents[piece.span_key].row_start, extents[piece.span_key].row_stop
            low = max(begin, piece.row_start - LEAD_FRAMES)
            wanted |= {row // r for row in range(low, min(end, piece.row_start + piece.num_rows + LEAD_FRAMES))}
        assert slots_read(unit, layout) == wanted
        turns.append(max((i for i, one in enumerate(first) if set(one.slots) & wanted), default=-1))
    assert turns == sorted(turns)


def test_rows_that_two_units_write_products_of_count_once() -> None:
    layout = Layout(16, 8)
    placements, sources = placed([20, 8], layout)
    make = partial(make_units, placements, sources, WHOLE, layout=layout, max_slots=4, num_workers=1)
    units, deferred = make(missing={0: ("pixels",), 1: ("pixels",)}), make(missing={0: ("deep",), 1: ("deep",)})
    plan = Plan(placements=tuple(placements), new=(), units=units, num_slots=2, layout=layout, deferred=deferred)
    assert (plan.num_new_rows, plan.num_slots_written) == (28, 2)
    assert plan.padding == pytest.approx(1 - 28 / 32)
    added = Plan(placements=tuple(placements), new=(), units=(), num_slots=2, layout=layout, deferred=deferred)
    assert added.num_new_rows == 28
    assert added.after(plan).all_units == (*units, *deferred, *deferred)
