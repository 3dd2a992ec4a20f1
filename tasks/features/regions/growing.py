"""Region growing: which cells of a (time, y, x) volume form a region under a join condition. Pure functions.

Cells touch along time, y and x (6 neighbours; a volume of one frame grows in space only). Automatic seeds: an even
cell is similar to all its neighbours in the frame; touching, similar even cells form a core, found as a connected
component of the graph of such pairs (scipy.sparse.csgraph). Cores then take the cells around them, ring by ring, as
long as these are closer to the region than to the outside: so soft edges are cut where they are steepest, a bridge one
cell wide joins nothing, and areas that are rough all over are in no region. Given seeds: all cells that are connected
to the seed and similar to the seed itself (scipy.ndimage.label), so that a region can't creep along a ramp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]
"""(time, y, x, channel)."""
RINGS = 3
"""Maximum width of a soft edge in cells, on one side, plus one."""
_IN_FRAME = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))], dtype=np.bool_)
"""A cell and its neighbours in the frame."""


def distance(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the root mean square over channels of the difference of two (..., channel) arrays."""
    square = np.square(a - b, dtype=np.float32)
    total = square[..., 0].copy()
    for i in range(1, square.shape[-1]):  # one by one: numpy does not fix the order of a sum over an axis
        total += square[..., i]
    return np.asarray(np.sqrt(total / np.float32(square.shape[-1])), dtype=np.float32)


def grow(values: Values, alive: Bools, *, tolerance: float, core: float = 1) -> Labels:
    """Return (time, y, x) labels 1, 2, ... of the regions that grow from automatic seeds, 0 elsewhere.

    Touching cells are similar if they are at most `tolerance` apart (`distance`); a cell is even if it is similar to
    all its neighbours in the frame. Touching, similar cells that are even and alive form a core; cores with fewer than
    `core` cells in every frame are dropped. Alive cells next to a core in the frame are similar to it and join it. In
    RINGS - 1 further rounds each free cell next to regions joins the region of its closest neighbour in the frame; if
    that neighbour is in no region, the cell stays out for good. Neighbours assigned in the same round don't count.
    Labels are in the order of the regions' first cells, by time, then y, then x.
    """
    edges = [_apart(values, axis) for axis in range(3)]
    is_even = (_largest_beside(edges, alive.shape) <= tolerance) & alive
    labels = of_size(_components([edge <= tolerance for edge in edges], is_even), least=core, most=alive.size)
    free = alive & (labels == 0)
    for i in range(RINGS):
        ring = free & ndimage.binary_dilation(labels > 0, structure=_IN_FRAME)
        labels[ring] = _nearest(labels, ring, labels > 0 if i == 0 else alive & ~ring, edges)[ring]
        free &= ~ring
    return in_order(labels)


def _nearest(labels: Labels, ring: Bools, counts: Bools, edges: Sequence[npt.NDArray[np.float32]]) -> Labels:
    """Return, for each cell of a ring, the label of its closest neighbour in the frame among those in `counts`.

    Ties go to the cell above, then below, left, right.
    """
    found = np.zeros(labels.shape, dtype=np.int32)
    least = np.full(labels.shape, np.inf, dtype=np.float32)
    for axis in (1, 2):
        low, high = _part(axis, slice(None, -1)), _part(axis, slice(1, None))
        for here, there in ((high, low), (low, high)):
            is_nearer = ring[here] & counts[there] & (edges[axis] < least[here])
            np.copyto(least[here], edges[axis], where=is_nearer)
            np.copyto(found[here], labels[there], where=is_nearer)
    return found


def _apart(values: Values, axis: int) -> npt.NDArray[np.float32]:
    """Return the distance of each cell to the next one along an axis; that axis is one shorter."""
    return distance(values[_part(axis, slice(1, None))], values[_part(axis, slice(None, -1))])


def _largest_beside(edges: Sequence[npt.NDArray[np.float32]], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the distance of each cell to its most distant neighbour in the frame."""
    found = np.zeros(shape, dtype=np.float32)
    for axis in (1, 2):
        for side in (slice(None, -1), slice(1, None)):
            part = _part(axis, side)
            found[part] = np.maximum(found[part], edges[axis])
    return found


def _components(alike: Sequence[Bools], inside: Bools) -> Labels:
    """Return labels of the connected components of the cells inside; `alike[axis]` says which neighbours are joined."""
    size = inside.size
    numbers = np.arange(size, dtype=np.int32).reshape(inside.shape)
    joined = np.zeros((size, 3), dtype=np.bool_)
    for axis in range(3):
        low, high = _part(axis, slice(None, -1)), _part(axis, slice(1, None))
        joined[numbers[low].ravel(), axis] = (alike[axis] & inside[high] & inside[low]).ravel()
    rows, axes = np.nonzero(joined)  # in row order, as CSR needs it, without a sort
    steps = np.array([inside.shape[1] * inside.shape[2], inside.shape[2], 1], dtype=np.int32)
    pointers = np.concatenate([[0], np.cumsum(joined.sum(axis=1))]).astype(np.int32)
    columns = (rows + steps[axes]).astype(np.int32)
    graph = csr_array((np.ones(len(rows), dtype=np.int8), columns, pointers), (size, size))
    _, component = connected_components(graph, directed=False)
    return in_order(np.where(inside.ravel(), component + 1, 0).reshape(inside.shape))


def grow_from(values: Values, alive: Bools, seeds: Sequence[tuple[int, int]], *, tolerance: float) -> Labels:
    """Return (time, y, x) labels: 1 for the first seed's region, 2 for the second's, ...; 0 elsewhere.

    A seed is a cell (y, x) of the first frame. Its region is all cells connected to it that are alive, within
    `tolerance` of the seed's own value and in no earlier seed's region. A seed that is not alive grows no region.
    """
    labels = np.zeros(alive.shape, dtype=np.int32)
    for number, (y, x) in enumerate(seeds, start=1):
        near = (distance(values, values[0, y, x]) <= tolerance) & alive & (labels == 0)
        if near[0, y, x]:
            parts, _ = ndimage.label(near)
            labels[parts == parts[0, y, x]] = number
    return labels


def of_size(labels: Labels, *, least: float, most: float) -> Labels:
    """Return labels without the regions whose largest area in any frame is not in [least, most] cells.

    The other regions keep their numbers.
    """
    largest = np.stack([np.bincount(frame.ravel(), minlength=int(labels.max()) + 1) for frame in labels]).max(axis=0)
    is_kept = (largest >= least) & (largest <= most)
    is_kept[0] = False
    return np.where(is_kept[labels], labels, 0).astype(np.int32)


def in_order(labels: npt.NDArray[Any]) -> Labels:
    """Return labels renumbered 1, 2, ... by their first cells (time, then y, then x); 0 stays 0."""
    flat = labels.ravel()
    first = np.full(int(flat.max(initial=0)) + 1, flat.size)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # if an index repeats, the last assignment wins
    first[0] = -1
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return np.asarray(rank[flat].reshape(labels.shape), dtype=np.int32)


def _part(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if i == axis else slice(None) for i in range(3))
