"""Cells of a grid are those that fit, no more and no fewer, and each can be found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import grids

from patchlake.tasks.grid import Grid, centre_seconds

EXTENTS = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
quick = settings(max_examples=100, deadline=None)


def fitting(size: int, stride: int, offset: int, extent: int) -> list[int]:
    """Try every start there is."""
    return [a for a in range(extent) if a >= offset and (a - offset) % stride == 0 and a + size <= extent]


@quick
@given(grid=grids(), extents=EXTENTS)
def test_the_cells_are_all_those_that_fit(grid: Grid, extents: tuple[int, int, int]) -> None:
    for axis, extent in enumerate(extents):
        expected = fitting(grid.size[axis], grid.stride[axis], grid.offset[axis], extent)
        assert grid.starts(axis, extent) == expected
        assert grid.num_cells(axis, extent) == len(expected)
    assert grid.shape(extents) == tuple(len(grid.starts(axis, extents[axis])) for axis in range(3))


@quick
@given(grid=grids(), extents=EXTENTS)
def test_a_cell_is_found_where_it_was_put_and_its_centre_is_the_mean_of_its_pixels(
    grid: Grid, extents: tuple[int, int, int]
) -> None:
    shape = grid.shape(extents)
    if 0 in shape:
        return
    for index in (tuple(n - 1 for n in shape), tuple(n // 2 for n in shape), (0, 0, 0)):
        for axis, block in enumerate(grid.cell(index)):
            assert block.start == grid.starts(axis, extents[axis])[index[axis]]
            assert block.stop - block.start == grid.size[axis]
            middles = np.arange(block.start, block.stop) + 0.5
            assert grid.centres(axis, extents[axis])[index[axis]] == pytest.approx(middles.mean(), abs=1e-12)


@quick
@given(size=st.tuples(*[st.integers(1, 6)] * 3), extents=st.tuples(*[st.integers(1, 14)] * 3))
def test_touching_cells_cover_each_pixel_once_but_for_a_rest_smaller_than_a_cell(
    size: tuple[int, int, int], extents: tuple[int, int, int]
) -> None:
    grid = Grid(size, size)
    painted = np.zeros(extents, dtype=int)
    for index in np.ndindex(*grid.shape(extents)):
        painted[grid.cell(index)] += 1
    inside = np.zeros(extents, dtype=int)
    inside[tuple(slice(0, extent - extent % n) for extent, n in zip(extents, size, strict=True))] = 1
    np.testing.assert_array_equal(painted, inside)


@quick
@given(grid=grids(), extents=EXTENTS)
def test_cells_with_a_pixel_are_those_that_were_put_over_it(grid: Grid, extents: tuple[int, int, int]) -> None:
    for axis, extent in enumerate(extents):
        blocks = [range(a, a + grid.size[axis]) for a in grid.starts(axis, extent)]
        for position in range(extent):
            expected = [i for i, block in enumerate(blocks) if position in block]
            assert list(grid.cells_with(axis, position, extent)) == expected


@quick
@given(grid=grids(), extents=EXTENTS)
def test_cells_leave_no_gap_unless_they_are_scattered(grid: Grid, extents: tuple[int, int, int]) -> None:
    for axis, extent in enumerate(extents):
        count, first, stride = grid.num_cells(axis, extent), grid.offset[axis], grid.stride[axis]
        if not count or stride > grid.size[axis]:
            continue
        stop = first + (count - 1) * stride + grid.size[axis]
        assert extent - stride < stop <= extent, "the rest is too small for one more"
        for position in range(extent):
            assert bool(grid.cells_with(axis, position, extent)) == (first <= position < stop)


@quick
@given(size=st.tuples(*[st.integers(1, 9)] * 3), extents=EXTENTS)
def test_at_stride_one_every_start_has_a_cell_and_a_pixel_inside_lies_in_as_many_as_a_cell_is_long(
    size: tuple[int, int, int], extents: tuple[int, int, int]
) -> None:
    grid = Grid(size, (1, 1, 1))
    assert grid.shape(extents) == tuple(max(0, n - w + 1) for n, w in zip(extents, size, strict=True))
    for axis, (n, w) in enumerate(zip(extents, size, strict=True)):
        for position in range(w - 1, n - w + 1):
            assert len(grid.cells_with(axis, position, n)) == w


@quick
@given(grid=grids(), data=st.data())
def test_a_cell_s_source_box_is_that_of_its_pixels(grid: Grid, data: st.DataObject) -> None:
    a, e = (data.draw(st.sampled_from([0.25, 1.0, 3.5])) for _ in range(2))
    c, f = (data.draw(st.integers(-20, 20)) for _ in range(2))
    index = data.draw(st.tuples(*[st.integers(0, 5)] * 3))
    x, y, width, height = grid.source_box(index, (a, 0.0, c, 0.0, e, f))
    _, ys, xs = grid.cell(index)
    assert (x, x + width) == (a * xs.start + c, a * xs.stop + c)
    assert (y, y + height) == (e * ys.start + f, e * ys.stop + f)


def test_a_cell_is_shown_from_its_first_frame_to_its_last() -> None:
    seconds = np.array([0.0, 0.1, 0.4, 0.5, 0.9])
    grid = Grid((2, 1, 1), (2, 1, 1), (1, 0, 0))
    assert grid.source_seconds(0, seconds) == (0.1, 0.4)
    assert grid.source_seconds(1, seconds) == (0.5, 0.9)


def test_overlapping_cells_by_hand() -> None:
    grid = Grid(size=(4, 32, 8), stride=(3, 16, 8), offset=(1, 0, 4))
    assert grid.starts(0, 11) == [1, 4, 7]
    assert grid.starts(1, 80) == [0, 16, 32, 48]
    assert grid.centres(1, 80).tolist() == [16.0, 32.0, 48.0, 64.0]
    assert grid.shape((11, 80, 19)) == (3, 4, 1)
    assert grid.cell((2, 3, 0)) == (slice(7, 11), slice(48, 80), slice(4, 12))


@pytest.mark.parametrize(
    "bad", [{"size": (0, 1, 1)}, {"stride": (1, 0, 1)}, {"offset": (0, 0, -1)}, {"stride": (1, 1, -4)}]
)
def test_grids_that_make_no_sense_are_refused(bad: dict[str, tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="size >= 1, stride >= 1, offset >= 0"):
        Grid(**{"size": (1, 1, 1), "stride": (1, 1, 1), **bad})


@quick
@given(steps=st.lists(st.floats(0.001, 1), max_size=30), size=st.integers(1, 7), stride=st.integers(1, 7))
def test_a_row_is_timed_midway_between_its_first_and_its_last_frame(steps: list[float], size: int, stride: int) -> None:
    seconds = np.cumsum(np.array(steps))
    expected = [(seconds[a] + seconds[a + size - 1]) / 2 for a in fitting(size, stride, 0, len(seconds))]
    np.testing.assert_array_equal(centre_seconds(seconds, size=size, stride=stride), expected)
