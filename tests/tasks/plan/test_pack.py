"""Packing puts every span somewhere of its own, always at the same place, and wastes little."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import layouts

from patchlake.tasks.grid import Layout
from patchlake.tasks.plan.pack import Load, pack

quick = settings(max_examples=200, deadline=None)
Lengths = list[tuple[str, int]]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Lengths, Layout, int]:
    """Spans without rows, short ones, of just a slot, and of many slots."""
    layout = draw(layouts())
    r = layout.slot_frames
    length = st.one_of(st.integers(0, r), st.integers(0, 4 * r), st.sampled_from([r, r + 1, 2 * r]))
    return (
        [(f"s{i}", n) for i, n in enumerate(draw(st.lists(length, max_size=40)))],
        layout,
        draw(st.integers(0, 5)),
    )


def loads(lengths: Lengths) -> list[Load]:
    return [Load((item,)) for item in lengths]


def paint(lengths: Lengths, rows: dict[str, int], num_rows: int) -> np.ndarray:
    """Count how often each row is taken."""
    taken = np.zeros(num_rows, dtype=int)
    for key, length in lengths:
        taken[rows[key] : rows[key] + length] += 1
    return taken


@quick
@given(case=cases())
def test_spans_lie_apart_on_borders_of_their_own(case: tuple[Lengths, Layout, int]) -> None:
    lengths, layout, first_slot = case
    r = layout.slot_frames
    rows, free = pack(loads(lengths), layout, first_slot=first_slot)
    assert rows.keys() == dict(lengths).keys()
    taken = paint(lengths, rows, free * r)
    assert taken.max(initial=0) <= 1
    assert taken.sum() == sum(n for _, n in lengths), "some rows lie past the next free slot"
    assert taken[: first_slot * r].sum() == 0
    at = first_slot * r
    for key, length in lengths:
        assert rows[key] % layout.align == 0
        if length > r:
            assert rows[key] == at, "long spans follow one another"
            at += -(-length // layout.align) * layout.align
        elif length:
            assert rows[key] // r == (rows[key] + length - 1) // r
        else:
            assert rows[key] == first_slot * r


@quick
@given(case=cases())
def test_no_slot_is_taken_in_vain(case: tuple[Lengths, Layout, int]) -> None:
    lengths, layout, first_slot = case
    r = layout.slot_frames
    rows, free = pack(loads(lengths), layout, first_slot=first_slot)
    used = paint(lengths, rows, free * r).reshape(free, r).any(axis=1)
    assert used[first_slot:].all()
    long_slots = {(rows[key] + row) // r for key, length in lengths if length > r for row in range(length)}
    filled = [0] * free
    for key, length in lengths:
        if 0 < length <= r:
            filled[rows[key] // r] += -(-length // layout.align) * layout.align
    half_empty = [s for s in range(first_slot, free) if s not in long_slots and 2 * filled[s] <= r]
    assert len(half_empty) <= 1, "two half empty slots of short spans could have been one"


@quick
@given(case=cases(), seed=st.randoms(use_true_random=False))
def test_the_order_of_short_spans_changes_nothing(case: tuple[Lengths, Layout, int], seed: random.Random) -> None:
    lengths, layout, first_slot = case
    first = pack(loads(lengths), layout, first_slot=first_slot)
    assert pack(loads(lengths), layout, first_slot=first_slot) == first
    long = [item for item in lengths if item[1] > layout.slot_frames]
    short = [item for item in lengths if item[1] <= layout.slot_frames]
    seed.shuffle(short)
    assert pack(loads(short + long), layout, first_slot=first_slot) == first


def test_the_picture_of_the_docstring() -> None:
    rows, free = pack(loads([("C", 90), ("A", 1100), ("B", 800)]), Layout(512, 8), first_slot=0)
    assert rows == {"A": 0, "B": 1104, "C": 1904}
    assert free == 4


@quick
@given(
    groups=st.lists(st.lists(st.integers(1, 60), min_size=2, max_size=4), max_size=5),
    singles=st.lists(st.integers(1, 60), max_size=8),
)
def test_spans_that_share_a_decode_lie_together(groups: list[list[int]], singles: list[int]) -> None:
    layout = Layout(32, 4)
    shared = [Load(tuple((f"g{i}.{j}", n) for j, n in enumerate(group))) for i, group in enumerate(groups)]
    alone = [Load(((f"s{i}", n),)) for i, n in enumerate(singles)]
    rows, free = pack([*shared, *alone], layout, first_slot=2)
    flat = [item for load in (*shared, *alone) for item in load.parts]
    taken = paint(flat, rows, free * 32)
    assert taken.max(initial=0) <= 1
    assert taken.sum() == sum(n for _, n in flat)
    for load in shared:
        first = rows[load.parts[0][0]]
        if load.rows(layout) <= 32:
            assert {(rows[key] + n - 1) // 32 for key, n in load.parts} == {first // 32}
        else:
            assert all(rows[key] % 32 == 0 for key, _ in load.parts), "so that slots of one time are one time's alone"


def test_nothing_to_pack_takes_nothing() -> None:
    assert pack([], Layout(512, 8), first_slot=7) == ({}, 7)


def padding(lengths: list[int]) -> float:
    """Return the share of rows that hold no frame."""
    _, free = pack(loads([(f"{i:05d}", n) for i, n in enumerate(lengths)]), Layout(512, 8), first_slot=0)
    return 1 - sum(lengths) / (free * 512)


def test_realistic_mixtures_waste_little() -> None:
    rng = random.Random(0)
    clips = [rng.randint(40, 300) for _ in range(2000)]
    films = [rng.randint(1500, 20_000) for _ in range(20)]
    assert padding(clips) < 0.06
    assert padding(films) < 0.01
    assert padding([600] * 200) < 0.02
    assert padding(clips + films) < 0.02
    assert padding([50] * 1000) < 0.13  # 56 rows aligned, 9 of them a slot: 450 of 512
