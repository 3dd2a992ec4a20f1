"""Timestamps survive packing, cost next to nothing, and become seconds with one rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import INT64, ascending

from patchlake.tasks import pts
from patchlake.tasks.types import IntArray

quick = settings(max_examples=150, deadline=None)
WIDE = np.array([INT64.min, INT64.min, -1, 0, INT64.max], dtype=np.int64)


@quick
@given(times=st.one_of(ascending(), ascending(low=-300, high=300), ascending(low=-(2**33), high=2**33)))
@example(times=WIDE)
@example(times=np.empty(0, dtype=np.int64))
@example(times=np.array([INT64.min]))
@example(times=np.array([0, 127, 255]))
@example(times=np.array([0, 128, 32896]))
def test_packing_is_undone(times: IntArray) -> None:
    back = pts.unpack(pts.pack(times))
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, times)


@quick
@given(first=st.integers(-(2**62), 2**61), step=st.integers(1, 2**31 - 1))
def test_a_constant_rate_costs_less_than_60_bytes(first: int, step: int) -> None:
    times = first + step * np.arange(4096, dtype=np.int64)
    packed = pts.pack(times)
    assert len(packed) < 60
    np.testing.assert_array_equal(pts.unpack(packed), times)


def test_no_time_costs_nothing() -> None:
    assert pts.pack(np.empty(0, dtype=np.int64)) == b""
    assert pts.unpack(b"").shape == (0,)


@quick
@given(
    times=ascending(low=-(2**36), high=2**36),
    first=st.integers(-(2**36), 2**36),
    time_base=st.sampled_from(["1/90000", "1/1000", "1001/30000", "1/12800", "1/1000000", "1/25", "1001/24000", "3"]),
)
def test_seconds_are_the_exact_ratio_rounded_once(times: IntArray, first: int, time_base: str) -> None:
    tick = Fraction(time_base)
    got = pts.seconds_of(times, tick, first_pts=first)
    assert got.dtype == np.float64
    assert got.tolist() == [float((int(t) - first) * tick) for t in times]


@pytest.mark.parametrize(("tick", "expected"), [("1/3", 1 / 3), ("1/10", 0.1), ("1001/30000", 0.03336666666666667)])
def test_one_tick_is_the_nearest_float(tick: str, expected: float) -> None:
    base = Fraction(tick)
    got = pts.seconds_of(np.array([8]), base, first_pts=7)
    assert got.tolist() == [expected]
