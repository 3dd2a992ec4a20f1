"""Growing is what plain loops over cells and their neighbours give, whatever the values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from patchlake.tasks.features.regions import growing

Cell = tuple[int, int, int]
Volume = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Return (time, y, x, channel) values of few levels, so that much is alike, and which cells are alive."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels, holes = draw(st.integers(1, 4)), draw(st.sampled_from([0, 0.1, 0.4]))
    values = rng.integers(0, levels, (*shape, draw(st.integers(1, 3)))) * 10.0
    values += draw(st.sampled_from([0, 1])) * rng.integers(0, 8, values.shape) / 16  # exact in float32; fewer ties
    return values.astype(np.float32), rng.random(shape) >= holes


def beside(at: Cell, shape: tuple[int, ...], axes: tuple[int, ...] = (0, 1, 2)) -> Iterator[Cell]:
    for axis in axes:
        for step in (-1, 1):
            cell = [*at]
            cell[axis] += step
            if 0 <= cell[axis] < shape[axis]:
                yield (cell[0], cell[1], cell[2])


def apart(values: npt.NDArray[Any], a: Cell, b: Cell) -> float:
    return float(np.sqrt(np.mean((values[a].astype(float) - values[b].astype(float)) ** 2)))


def flooded(start: Cell, shape: tuple[int, ...], joins: Callable[[Cell, Cell], bool]) -> set[Cell]:
    """Return what a breadth-first search from a cell reaches."""
    seen, queue = {start}, deque([start])
    while queue:
        here = queue.popleft()
        for cell in beside(here, shape):
            if cell not in seen and joins(here, cell):
                seen.add(cell)
                queue.append(cell)
    return seen


@given(volume=volumes(), tolerance=st.sampled_from([0.0, 6.0, 11.0]), core=st.integers(1, 4))
def test_regions_from_automatic_seeds_are_those_of_a_plain_search(volume: Volume, tolerance: float, core: int) -> None:
    values, alive = volume
    shape = alive.shape
    cells: list[Cell] = [(int(t), int(y), int(x)) for t, y, x in np.ndindex(*shape)]
    even = {
        at for at in cells if alive[at] and all(apart(values, at, b) <= tolerance for b in beside(at, shape, (1, 2)))
    }
    cores: list[set[Cell]] = []
    for at in cells:
        if at in even and not any(at in found for found in cores):
            cores.append(flooded(at, shape, lambda a, b: b in even and apart(values, a, b) <= tolerance))
    cores = [c for c in cores if max(sum(at[0] == t for at in c) for t in range(shape[0])) >= core]
    labels = growing.grow(values, alive, tolerance=tolerance, core=core)
    expected = ringed(values, alive, cores)
    firsts = [min(cells.index(at) for at in cells if expected.get(at) == i) for i in range(len(cores))]
    number = {i: n for n, i in enumerate(sorted(range(len(cores)), key=lambda i: firsts[i]), start=1)}
    assert {at: int(labels[at]) for at in cells} == {at: number.get(expected.get(at, -1), 0) for at in cells}


def ringed(values: npt.NDArray[Any], alive: npt.NDArray[np.bool_], cores: list[set[Cell]]) -> dict[Cell, int]:
    """Return cell -> which core it belongs to, after three rounds in which cells beside regions choose; -1: to none."""
    found = {at: i for i, core in enumerate(cores) for at in core}
    for turn in range(3):
        ring = {b for at, i in found.items() if i >= 0 for b in beside(at, alive.shape, (1, 2))}
        ring = {at for at in ring if at not in found and alive[at]}
        chosen: dict[Cell, int] = {}
        for at in ring:
            near = [b for b in beside(at, alive.shape, (1, 2)) if alive[b] and b not in ring]
            near = [b for b in near if turn or found.get(b, -1) >= 0]
            chosen[at] = found.get(min(near, key=lambda b: np.float32(apart(values, at, b))), -1)
        found |= chosen
    return found


@given(volume=volumes(), tolerance=st.sampled_from([0.0, 6.0, 11.0]), data=st.data())
def test_regions_from_given_seeds_are_those_of_a_plain_search(
    volume: Volume, tolerance: float, data: st.DataObject
) -> None:
    values, alive = volume
    shape = alive.shape
    seeds = data.draw(st.lists(st.tuples(st.integers(0, shape[1] - 1), st.integers(0, shape[2] - 1)), max_size=3))
    expected = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(seeds, start=1):
        start = (0, y, x)

        def joins(_: Cell, cell: Cell, start: Cell = start) -> bool:
            return bool(alive[cell] and not expected[cell] and apart(values, start, cell) <= tolerance)

        if joins(start, start):
            for cell in flooded(start, shape, joins):
                expected[cell] = number
    np.testing.assert_array_equal(growing.grow_from(values, alive, seeds, tolerance=tolerance), expected)


def test_a_bridge_of_one_cell_and_a_soft_edge_join_nothing() -> None:
    values = np.zeros((1, 9, 20, 1), np.float32)
    values[0, :, 11:] = 100
    values[0, 4, 8:12] = 0
    values[0, :, 10] = np.where(np.arange(9) == 4, 0, 50)[:, None]
    labels = growing.grow(values, np.ones((1, 9, 20), np.bool_), tolerance=6)[0]
    assert labels[4, 2] != labels[4, 17]
    assert {labels[4, 2], labels[4, 17]} == {1, 2}
    seeded = growing.grow_from(values, np.ones((1, 9, 20), np.bool_), [(4, 2)], tolerance=60)
    assert seeded[0, 0, 10] == 1, "within 60 of the seed"
    assert seeded[0, 0, 15] == 0, "a ramp of steps below 60 is not followed past it"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 3))
def test_numbers_follow_first_cells(flat: list[int], rows: int) -> None:
    labels = np.array([flat] * rows)[None]
    found = growing.in_order(labels)
    assert ((found == 0) == (labels == 0)).all()
    order = list(dict.fromkeys(n for n in flat if n))
    np.testing.assert_array_equal(found, np.array([[order.index(n) + 1 if n else 0 for n in flat]] * rows)[None])


def test_sizes_are_those_of_the_frame_where_a_region_is_largest() -> None:
    labels = np.zeros((2, 4, 4), np.int32)
    labels[0, 0, :2], labels[1, 0, :3], labels[0, 2:], labels[1, 3, 0] = 1, 1, 2, 3
    np.testing.assert_array_equal(np.unique(growing.of_size(labels, least=3, most=7)), [0, 1])
    np.testing.assert_array_equal(np.unique(growing.of_size(labels, least=1, most=8)), [0, 1, 2, 3])
