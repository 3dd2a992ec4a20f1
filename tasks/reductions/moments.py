"""Exact moments: count, mean and scatter, in float64.

chunk: two passes over the cells (first the mean, then centred products); combine: Chan's merge.

Source: T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from patchlake.tasks.reductions.reduction import State


def chunk(values: npt.NDArray[np.floating]) -> State:
    """Return the moments of (n, d) samples, n >= 1: count (), mean (d,) and scatter (d, d).

    The scatter is the sum of outer products of the centred samples; divided by n - 1 it is the covariance.
    """
    x = np.ascontiguousarray(values, dtype=np.float64)
    mean = x.mean(axis=0)
    x = x - mean
    return {"count": np.array(len(x)), "mean": mean, "scatter": x.T @ x}


def combine(a: State, b: State) -> State:
    """Return the moments of both parts combined."""
    a_count, b_count = int(a["count"]), int(b["count"])  # Python integers, since their product may exceed 2^63
    count = a_count + b_count
    delta = b["mean"] - a["mean"]
    return {
        "count": np.array(count),
        "mean": a["mean"] + delta * (b_count / count),
        "scatter": a["scatter"] + b["scatter"] + np.outer(delta, delta) * (a_count * b_count / count),
    }
