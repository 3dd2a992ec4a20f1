"""Quantiles are numpy's up to half a bin, whoever counted which part."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchlake.tasks import canvas
from patchlake.tasks.reductions.quantiles import LEVELS, NUM_BINS, Quantiles, QuantilesOptions, bin_of, edges
from patchlake.tasks.reductions.reduction import SampledCells

QUANTILES = Quantiles(QuantilesOptions(kind="quantiles", product="flow"))
in_range = st.floats(2.0**-14, 65504, width=32) | st.floats(-65504, -(2.0**-14), width=32)
quick = settings(max_examples=100, deadline=None)


@quick
@given(x=arrays(np.float32, st.integers(1, 300), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_each_value_lies_in_its_bin_and_bins_ascend(x: np.ndarray) -> None:
    low, high = edges()
    place = bin_of(x)
    assert ((low[place] <= x) & (x <= high[place])).all()
    order = np.argsort(x, kind="stable")
    assert (np.diff(place[order]) >= 0).all()


@quick
@given(x=arrays(np.float32, st.tuples(st.integers(1, 200), st.integers(1, 4)), elements=in_range))
def test_quantiles_are_numpy_s_within_a_128th(x: np.ndarray) -> None:
    result = QUANTILES.finalize(QUANTILES.chunk(x), [str(i) for i in range(x.shape[1])])
    expected = np.quantile(x.astype(np.float64), LEVELS, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(result["quantiles"], expected, rtol=1 / 128)
    assert result["counts"].sum() == x.size
    for channel in range(x.shape[1]):  # the mean of middles is as near, by math.fsum
        low, high = edges()
        held = result["counts"].values[channel]
        middle = math.fsum(held[i] * (low[i] + high[i]) / 2 for i in np.flatnonzero(held))
        exact = math.fsum(map(float, x[:, channel]))
        assert abs(middle - exact) <= math.fsum(map(abs, map(float, x[:, channel]))) / 128


@quick
@given(
    x=arrays(np.float16, st.tuples(st.integers(2, 200), st.integers(1, 3)), elements=st.floats(width=16)),
    cut=st.floats(0, 1),
)
def test_parts_add_up_to_the_whole(x: np.ndarray, cut: float) -> None:
    at = min(max(1, int(cut * len(x))), len(x) - 1)
    both = QUANTILES.combine(QUANTILES.chunk(x[:at]), QUANTILES.chunk(x[at:]))
    whole = QUANTILES.chunk(x)
    assert all((both[name] == whole[name]).all() for name in whole)


def test_what_no_bin_holds_is_counted_or_lies_in_the_ends() -> None:
    x = np.array([[np.nan], [np.inf], [-np.inf], [1e30], [-1e30], [0.0], [1e-7]], np.float32)
    result = QUANTILES.finalize(QUANTILES.chunk(x), ["v"])
    assert QUANTILES.figures(result) == {"cells": 7, "non-finite values": 3}
    assert result["quantiles"].values[[0, -1], 0].tolist() == [-65536, 65536]
    assert abs(float(result["quantiles"].sel(level=0.5)[0])) < 1e-6
    assert result["counts"].shape == (1, NUM_BINS)


def test_a_channel_without_a_finite_value_has_no_quantile() -> None:
    result = QUANTILES.finalize(QUANTILES.chunk(np.array([[1.0, np.nan]], np.float32)), ["a", "b"])
    assert result["quantiles"].values[:, 0] == pytest.approx(1, rel=1 / 128)
    assert np.isnan(result["quantiles"].values[:, 1]).all()


@pytest.mark.parametrize("channels", [1, 3, 12, 40])
def test_the_picture_shows_every_channel(channels: int) -> None:
    x = np.random.default_rng(0).standard_normal((50, channels)).astype(np.float32)
    result = QUANTILES.finalize(QUANTILES.chunk(x), [f"channel {i}" for i in range(channels)])
    with canvas.style():
        picture = QUANTILES.picture(result, SampledCells("flow", np.empty((0, channels)), []))
    assert picture is not None
    assert picture.title == "Quantiles of flow"
    assert "all 50 cells of flow" in picture.caption


def test_nothing_finite_has_no_picture() -> None:
    result = QUANTILES.finalize(QUANTILES.chunk(np.full((3, 2), np.nan, np.float32)), ["a", "b"])
    assert QUANTILES.picture(result, SampledCells("flow", np.empty((0, 2)), [])) is None
