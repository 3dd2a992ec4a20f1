"""Which row of one product lies nearest to each row of another."""

from __future__ import annotations

import numpy as np

from patchlake.tasks.lake.product_rows import RowIndex
from patchlake.tasks.types import FloatArray, IntArray

_EQUAL_SECONDS = 1e-9
"""Distances that differ by less than this count as equal, since times are rounded."""


def nearest_rows(a: RowIndex, b: RowIndex) -> tuple[IntArray, FloatArray]:
    """Return, for each row of `a`, the row of `b` of the same track with the nearest time, and the distance in seconds.

    Of two equally near rows it is the earlier one, of several at the same time the first; -1 and NaN if `b` has no row
    of the track.
    """
    order = np.lexsort((b.row, b.seconds, b.track))
    track, seconds, row = b.track[order], b.seconds[order], b.row[order]
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(track) != 0) | (np.diff(seconds) != 0)
    track, seconds, row = track[new], seconds[new], row[new]

    # Sorted together, b first at equal times: the last row of b before a row of a is then its predecessor.
    both = np.lexsort((np.arange(len(row) + len(a.row)), np.append(seconds, a.seconds), np.append(track, a.track)))
    is_a = both >= len(row)
    before = (np.cumsum(~is_a) - 1)[is_a]
    which = both[is_a] - len(row)
    found, distance = np.full(len(a.row), -1), np.full(len(a.row), np.nan)
    for candidate in (before, before + 1):
        there = (candidate >= 0) & (candidate < len(row))
        there[there] = track[candidate[there]] == a.track[which[there]]
        mine, other = which[there], candidate[there]
        far = np.abs(seconds[other] - a.seconds[mine])
        nearer = ~(far >= distance[mine] - _EQUAL_SECONDS)  # also true where there is no distance yet
        found[mine[nearer]], distance[mine[nearer]] = row[other[nearer]], far[nearer]
    return found, distance


def nearest_cells(a: FloatArray, b: FloatArray) -> IntArray:
    """Return, for each centre of `a`, the index of the nearest centre of `b` along y or x; ties go to the lower one."""
    found: IntArray = np.abs(a[:, None] - b).argmin(axis=1)
    return found
