"""Windows of stored arrays, read lazily: overlapping windows are views, so no pixel is in memory twice.

A window starts at (row, y, x) of an array (time, y, x, channel). Each chunk that a selection touches is read once, in
storage order; no other chunk is read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from patchlake.tasks.grid import Triple
from patchlake.tasks.types import IntArray

DIMS = ("time", "y", "x", "dt", "dy", "dx", "channel")
"""First the window's index, then the position within it."""
READ_BYTES = 1 << 23
"""Maximum bytes that one read call decodes (but at least one chunk)."""
_THREADS = 4
"""Concurrent read calls: each waits for the store, then decodes without the GIL."""
Block = npt.NDArray[Any]


class WindowArray(BackendArray):
    """Every window of a grid as one array (time, y, x, dt, dy, dx, channel). It can be pickled."""

    def __init__(self, stored: zarr.Array[Any], starts: tuple[IntArray, IntArray, IntArray], size: Triple) -> None:
        """`starts` are the windows' first rows, ys and xs; all have the same `size`."""
        self.stored, self.starts = stored, starts
        self.shape = (*map(len, starts), *size, stored.shape[3])
        self.dtype = np.dtype(stored.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        if isinstance(key, indexing.VectorizedIndexer):
            return self._pointwise(key.tuple)
        return self._outer(key.tuple)

    def _outer(self, key: tuple[Any, ...]) -> Block:
        """Return an outer selection: a read-only view of the frames read, where windows are evenly spaced."""
        chosen = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        places = [
            start[which][:, None] + inside
            for start, which, inside in zip(self.starts, chosen[:3], chosen[3:6], strict=True)
        ]
        held = [np.unique(place) for place in places]
        block = read_outer(self.stored, held[0], held[1], held[2])
        if not np.array_equal(chosen[6], np.arange(self.shape[6])):
            block = block.take(chosen[6], axis=3)
        windows = _views(block, [np.searchsorted(h, place) for h, place in zip(held, places, strict=True)])
        picked: Block = windows[tuple(slice(None) if isinstance(k, slice) or np.ndim(k) else 0 for k in key)]
        return picked

    def _pointwise(self, key: tuple[Any, ...]) -> Block:
        """Return a pointwise selection by index arrays; each window that occurs is read once."""
        which = np.broadcast_arrays(*key[:3])
        unique, inverse = np.unique(np.stack([w.ravel() for w in which]), axis=1, return_inverse=True)
        if not unique.size or not all(inside.size for inside in key[3:]):
            return np.empty(np.broadcast_shapes(*(k.shape for k in key)), self.dtype)
        low = [int(inside.min()) for inside in key[3:6]]
        size = [int(inside.max()) + 1 - a for inside, a in zip(key[3:6], low, strict=True)]
        corners = np.stack([start[w] + a for start, w, a in zip(self.starts, unique, low, strict=True)], axis=1)
        windows = read_windows(self.stored, corners, (size[0], size[1], size[2]))
        inside = (k - a for k, a in zip(key[3:6], low, strict=True))
        picked: Block = windows[(inverse.reshape(which[0].shape), *inside, key[6])]
        return picked


def read_outer(stored: zarr.Array[Any], *wanted: IntArray) -> Block:
    """Return the (time, y, x, channel) block of the wanted rows, ys and xs, each ascending without repetition."""
    out = np.empty((*map(len, wanted), stored.shape[3]), dtype=stored.dtype)
    chunks = stored.chunks
    along = [
        list(_stretches(w, chunk, limit))
        for w, chunk, limit in zip(wanted, chunks[:3], (_most(stored), stored.shape[1], stored.shape[2]), strict=True)
    ]
    for places in itertools.product(*along):
        box = tuple(slice(int(w[at.start]), int(w[at.stop - 1]) + 1) for w, at in zip(wanted, places, strict=True))
        found = np.asarray(stored[box])
        for axis, (w, at) in enumerate(zip(wanted, places, strict=True)):
            if at.stop - at.start < found.shape[axis]:
                found = found.take(w[at] - w[at.start], axis=axis)
        out[places] = found
    return out


def read_windows(stored: zarr.Array[Any], corners: IntArray, size: Triple) -> Block:
    """Return (n, *size, channel) windows at (n, 3) corners: row, y, x."""
    out = np.empty((len(corners), *size, stored.shape[3]), dtype=stored.dtype)
    chunks = np.array(stored.chunks[:3])
    first, last = (corners // chunks).tolist(), ((corners + size - 1) // chunks).tolist()
    boxes = [itertools.product(*map(range, low, np.add(high, 1))) for low, high in zip(first, last, strict=True)]
    users: dict[tuple[int, ...], list[int]] = {}
    for i, box in enumerate(boxes):
        for chunk in box:
            users.setdefault(chunk, []).append(i)

    def read(group: list[tuple[int, ...]]) -> None:
        mine = np.unique([i for chunk in group for i in users[chunk]])
        low = np.maximum(corners[mine], chunks * group[0])
        high = np.minimum(corners[mine] + size, chunks * group[-1] + chunks)
        start, stop = low.min(axis=0), high.max(axis=0)
        found = np.asarray(stored[tuple(map(slice, start.tolist(), stop.tolist()))])
        here = zip(mine.tolist(), low.tolist(), high.tolist(), strict=True)
        for i, lo, hi in here:
            target = tuple(slice(a - c, b - c) for a, b, c in zip(lo, hi, corners[i].tolist(), strict=True))
            source = tuple(slice(a - c, b - c) for a, b, c in zip(lo, hi, start.tolist(), strict=True))
            out[i][target] = found[source]

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read, neighbours(sorted(users), _most(stored))))
    return out


def _most(stored: zarr.Array[Any]) -> int:
    """Return how many chunks one call may decode."""
    return max(1, READ_BYTES // (math.prod(stored.chunks) * stored.dtype.itemsize))


def neighbours(chunks: list[tuple[int, ...]], limit: int) -> list[list[tuple[int, ...]]]:
    """Return sorted chunks (time, y, x) in groups of at most `limit` chunks that are consecutive in time."""
    groups: list[list[tuple[int, ...]]] = []
    latest: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for time, *place in chunks:
        group = latest.get(tuple(place))
        if group is None or group[-1][0] != time - 1 or len(group) == limit:
            group = latest[tuple(place)] = []
            groups.append(group)
        group.append((time, *place))
    return groups


def _stretches(wanted: IntArray, chunk: int, limit: int) -> Iterator[slice]:
    """Yield the parts of `wanted` that lie in neighbouring chunks, at most `limit` chunks each."""
    which = wanted // chunk
    cut = np.flatnonzero(np.diff(which) > 1) + 1
    for first, stop in itertools.pairwise([0, *cut.tolist(), len(wanted)]):
        while first < stop:
            until = first + int(np.searchsorted(which[first:stop], which[first] + limit))
            yield slice(first, until)
            first = until


def _views(block: Block, places: list[IntArray]) -> Block:
    """Return (time, y, x, dt, dy, dx, channel) windows of a (time, y, x, channel) block, read-only.

    `places` are positions in the block, (windows, size) for time, y and x. Along an axis with even steps the windows
    are a view; along any other axis, the block's rows or columns are repeated first.
    """
    offsets, outer, inner = [], [], []
    for axis, at in enumerate(places):
        step_out, step_in = (int(s.flat[0]) if s.size else 0 for s in (np.diff(at, axis=0), np.diff(at, axis=1)))
        if (np.diff(at, axis=0) != step_out).any() or (np.diff(at, axis=1) != step_in).any() or not at.size:
            block = block.take(at.ravel(), axis=axis)
            at, step_out, step_in = np.zeros((1, 1), dtype=np.int64), at.shape[1], 1
        offsets.append(slice(int(at[0, 0]), None))
        outer.append(step_out)
        inner.append(step_in)
    shape = (*(len(at) for at in places), *(at.shape[1] for at in places), block.shape[3])
    steps = [step * stride for some in (outer, inner) for step, stride in zip(some, block.strides, strict=False)]
    strides = (*steps, block.strides[3])
    return np.lib.stride_tricks.as_strided(block[tuple(offsets)], shape, strides, writeable=False)
