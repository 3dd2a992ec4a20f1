"""Intervals, against their formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlake.tasks.objectives.intervals import bootstrap_interval, wilson_interval

Z = 1.959963984540054


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_wilson_s_formula(counts: tuple[int, int]) -> None:
    k, n = counts
    p = k / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n * n))
    low, high = (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=1e-12)


def test_wilson_interval_of_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_bootstrap_interval_of_a_mean_is_about_normal() -> None:
    x = np.random.default_rng(0).standard_normal(400)
    rows = np.stack([np.ones(400), x], axis=1)
    low, high = bootstrap_interval(rows, lambda sums: sums[:, 1] / sums[:, 0]) or (0, 0)
    half = Z * x.std() / 20
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.02)


def test_a_figure_that_few_draws_have_has_no_interval() -> None:
    assert bootstrap_interval(np.ones((3, 1)), lambda sums: np.full(len(sums), np.nan)) is None
