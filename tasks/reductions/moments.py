"""Exact moments of features: count, mean and scatter, in float64, the same bits whoever computed which part.

chunk: two passes over one slot's cells (first the mean, then centred products); combine: Chan's merge; the order of
merges is that of an aligned binary tree of slot numbers, so neither who finished first nor what was added later
changes a bit elsewhere.

Source: T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchlake.tasks import failpoints
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import FloatArray


@dataclass(frozen=True, slots=True)
class Moments:
    """Of n samples in d dimensions."""

    count: int
    mean: FloatArray
    """(d,)"""
    scatter: FloatArray
    """(d, d): sum of outer products of the centred samples; divided by n - 1 it is the covariance."""


def chunk(samples: npt.NDArray[np.floating]) -> Moments | None:
    """Return the moments of (n, d) samples, or None of none."""
    if not len(samples):
        return None
    x = np.ascontiguousarray(samples, dtype=np.float64)
    mean = x.mean(axis=0)
    x = x - mean
    return Moments(len(x), mean, x.T @ x)


def combine(a: Moments | None, b: Moments | None) -> Moments | None:
    """Return the moments of both parts together; None stands for no samples."""
    if a is None or b is None:
        return a or b
    count = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    return Moments(count, mean, a.scatter + b.scatter + np.outer(delta, delta) * (a.count * b.count / count))


def merge(parts: Iterable[tuple[int, Moments | None]]) -> Moments | None:
    """Return the moments of aligned nodes (number, moments) of one tree level: neighbours 2i and 2i + 1 meet first.

    Leaves are slots (level 0); node i of level l holds slots [i 2^l, (i + 1) 2^l). A node without a partner moves up
    as it is, so the result for given slots depends on nothing else.
    """
    nodes = {number: part for number, part in parts if part is not None}
    while len(nodes) > 1:
        parents: dict[int, Moments | None] = {}
        for number in sorted(nodes):
            parents[number // 2] = combine(parents.get(number // 2), nodes[number])
        nodes = {number: part for number, part in parents.items() if part is not None}
    return next(iter(nodes.values()), None)


def slot_samples(lake: Location, product: str, slot: int, rows_per_slot: int) -> npt.NDArray[np.floating]:
    """Return (cells, channel) of the slot's rows that hold something."""
    rows = ProductRows(lake, product).read(slot * rows_per_slot, (slot + 1) * rows_per_slot)
    values = rows.select(rows.exists).values
    return values.reshape(-1, values.shape[-1])


def node_moments(lake: Location, product: str, rows_per_slot: int, slots: tuple[int, ...]) -> Moments | None:
    """Return the moments of the slots of one aligned node: a task of the distributed reduction."""
    return merge((slot, _slot_moments(lake, product, slot, rows_per_slot)) for slot in slots)


def _slot_moments(lake: Location, product: str, slot: int, rows_per_slot: int) -> Moments | None:
    found = chunk(slot_samples(lake, product, slot, rows_per_slot))
    failpoints.reach("reducing")
    return found
