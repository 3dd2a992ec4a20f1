"""Confidence intervals of figures: two-sided, 95 %."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from patchlake.tasks.types import FloatArray

LEVEL = 0.95
DRAWS = 2000


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the Wilson (1927) score interval of a proportion; (0, 1) for n = 0."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    found = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def bootstrap_interval(
    rows_SF: FloatArray, figure: Callable[[FloatArray], FloatArray], *, seed: int = 0
) -> tuple[float, float] | None:
    """Return the bootstrap percentile interval of a figure of sums over sources, resampled with replacement.

    `figure` maps sums (draws, F) to values (draws,), NaN where undefined. None if it is defined for less than half.
    """
    sources = len(rows_SF)
    counts = np.random.default_rng(seed).multinomial(sources, np.full(sources, 1 / sources), size=DRAWS)
    values = figure(counts @ rows_SF)
    values = values[np.isfinite(values)]
    if len(values) < DRAWS / 2:
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
