"""Whatever is selected of windows is what numpy selects, and each chunk that holds some of it is read once."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.core import indexing
from zarr.storage import MemoryStore, WrapperStore

from patchlake.tasks.lake.windows import DIMS, WindowArray, neighbours, read_outer, read_windows
from patchlake.tasks.lake.zarr_config import PLAIN

quick = settings(max_examples=60, deadline=None)


class Counting(WrapperStore[MemoryStore]):
    """Counts what is read."""

    reads: Counter[str]
    num_bytes = 0

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self.reads[key] += 1
        found = await super().get(key, *args, **kwargs)
        self.num_bytes += len(found) if found is not None else 0
        return found


def stored(values: np.ndarray, chunks: tuple[int, ...]) -> tuple[zarr.Array[Any], Counter[str]]:
    """Return an array in memory, one object a chunk, and a count of the objects read."""
    store = Counting(MemoryStore())
    store.reads = Counter()
    with zarr.config.set(PLAIN):
        array = zarr.create_array(store, shape=values.shape, chunks=chunks, dtype=values.dtype)
        array[:] = values
        store.reads.clear()
        return array, store.reads


def touched(rows: Any, ys: Any, xs: Any, chunks: tuple[int, ...]) -> set[str]:
    return {f"c/{t // chunks[0]}/{y // chunks[1]}/{x // chunks[2]}/0" for t in rows for y in ys for x in xs}


VALUES = np.random.default_rng(0).integers(1, 255, (40, 17, 19, 2)).astype(np.uint8)


@st.composite
def window_arrays(draw: st.DrawFn) -> tuple[WindowArray, np.ndarray, Counter[str]]:
    """Return windows at uneven starts of an array of some chunks, the same in memory, and the reads."""
    chunks = (draw(st.integers(1, 9)), draw(st.sampled_from([17, 5])), draw(st.sampled_from([19, 4])), 2)
    array, reads = stored(VALUES, chunks)
    size = (draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    some = [
        sorted(draw(st.sets(st.integers(0, n - w), min_size=1, max_size=7)))
        for n, w in zip(VALUES.shape[:3], size, strict=True)
    ]
    starts = tuple(np.array(s) for s in some)
    places = [s[:, None] + np.arange(n) for s, n in zip(starts, size, strict=True)]
    t, y, x = (
        p.reshape((1,) * i + (len(p),) + (1,) * 2 + (p.shape[1],) + (1,) * (3 - i)) for i, p in enumerate(places)
    )
    t, y, x = t[..., 0], y[..., 0], x[..., 0]
    return WindowArray(array, starts, size), VALUES[t, y, x], reads  # type: ignore[arg-type]


@quick
@given(made=window_arrays(), data=st.data())
def test_any_selection_is_numpy_s_and_reads_the_chunks_that_hold_it_once(made: Any, data: st.DataObject) -> None:
    windows, whole, reads = made
    assert windows.shape == whole.shape
    lazy = xr.Variable(DIMS, indexing.LazilyIndexedArray(windows))
    pick: dict[str, Any] = {}
    for name, n in lazy.sizes.items():
        index = st.integers(-n, n - 1)
        parts = st.slices(n)
        pick[str(name)] = data.draw(st.one_of(index, parts, st.lists(index, max_size=4)))
    expected = xr.Variable(DIMS, whole).isel(pick)
    with zarr.config.set(PLAIN):
        found = lazy.isel(pick)
        assert not reads, "nothing is read before values are asked for"
        np.testing.assert_array_equal(found.values, expected.values)
    chosen = [np.atleast_1d(np.arange(n)[pick[str(name)]]) for name, n in lazy.sizes.items()]
    rows, ys, xs = (
        {int(a) + int(b) for a in s[c] for b in d}
        for s, c, d in zip(windows.starts, chosen[:3], chosen[3:6], strict=True)
    )
    if expected.size:
        assert {key for key in reads if key.startswith("c")} == touched(rows, ys, xs, windows.stored.chunks)
    assert max(reads.values(), default=0) <= 1


@quick
@given(made=window_arrays(), data=st.data())
def test_points_are_numpy_s_and_read_each_chunk_once(made: Any, data: st.DataObject) -> None:
    windows, whole, reads = made
    lazy = xr.Variable(DIMS, indexing.LazilyIndexedArray(windows))
    count = data.draw(st.integers(1, 6))
    draw = lambda n: data.draw(st.lists(st.integers(0, n - 1), min_size=count, max_size=count))  # noqa: E731
    pick: dict[str, Any] = {n: xr.Variable("window", draw(lazy.sizes[n])) for n in ("time", "y", "x")}
    inner = data.draw(st.sampled_from([{}, {"dt": 0}, {"dy": slice(None, None, -1)}, {"channel": [1]}]))
    with zarr.config.set(PLAIN):
        np.testing.assert_array_equal(
            lazy.isel(pick | inner).values, xr.Variable(DIMS, whole).isel(pick | inner).values
        )
    assert max(reads.values(), default=0) <= 1
    allowed = set()
    for t, y, x in zip(*(pick[n].values for n in ("time", "y", "x")), strict=True):
        a, b, c = (int(s[i]) for s, i in zip(windows.starts, (t, y, x), strict=True))
        d, e, f = windows.shape[3:6]
        allowed |= touched(range(a, a + d), range(b, b + e), range(c, c + f), windows.stored.chunks)
    assert set(reads) <= allowed


def test_of_a_shard_only_the_chunks_asked_for_are_fetched() -> None:
    store = Counting(MemoryStore())
    store.reads = Counter()
    with zarr.config.set(PLAIN):
        values = np.random.default_rng(1).integers(0, 255, (64, 16, 16, 3)).astype(np.uint8)
        array = zarr.create_array(
            store, shape=values.shape, chunks=(4, 16, 16, 3), shards=(32, 16, 16, 3), dtype="uint8", compressors=None
        )
        array[:] = values
        store.num_bytes = 0
        starts = (np.arange(0, 60), np.arange(9), np.arange(9))
        lazy = xr.Variable(DIMS, indexing.LazilyIndexedArray(WindowArray(array, starts, (3, 8, 8))))
        np.testing.assert_array_equal(lazy[38, 2, 1].values, values[38:41, 2:10, 1:9])
    assert 0 < store.num_bytes - 2 * 4 * 16 * 16 * 3 < 1000, "two chunks and an index of one of two shards"


def test_long_selections_are_read_in_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchlake.tasks.lake.windows.READ_BYTES", 3 * 4 * 17 * 19 * 2)
    array, reads = stored(VALUES, (4, 17, 19, 2))
    rows = np.array([0, 1, 2, 3, 4, 9, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 39])
    with zarr.config.set(PLAIN):
        np.testing.assert_array_equal(read_outer(array, rows, np.arange(3, 9), np.array([2, 18])),
                                      VALUES[np.ix_(rows, range(3, 9), [2, 18])])  # fmt: skip
    assert sorted(reads) == sorted(f"c/{t}/0/0/0" for t in (0, 1, 2, 5, 6, 7, 9))
    assert set(reads.values()) == {1}


def test_windows_that_share_chunks_read_them_once() -> None:
    array, reads = stored(VALUES, (4, 5, 19, 2))
    corners = np.array([[30, 2, 3], [1, 0, 0], [3, 9, 14], [30, 2, 3]])
    with zarr.config.set(PLAIN):
        found = read_windows(array, corners, (4, 6, 5))
    for window, (t, y, x) in zip(found, corners, strict=True):
        np.testing.assert_array_equal(window, VALUES[t : t + 4, y : y + 6, x : x + 5])
    assert set(reads) == {
        f"c/{t}/{y}/0/0" for t, ys in ((0, (0, 1, 2)), (1, (0, 1, 2)), (7, (0, 1)), (8, (0, 1))) for y in ys
    }
    assert set(reads.values()) == {1}


@quick
@given(chunks=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 1))), limit=st.integers(1, 4))
def test_chunks_are_read_in_the_order_in_which_they_lie(chunks: set[tuple[int, ...]], limit: int) -> None:
    runs = neighbours(sorted(chunks), limit)
    assert sorted(chunk for run in runs for chunk in run) == sorted(chunks)
    assert [run[0] for run in runs] == sorted(run[0] for run in runs)
    for run in runs:
        assert len(run) <= limit
        assert all(b == (a[0] + 1, *a[1:]) for a, b in itertools.pairwise(run))
