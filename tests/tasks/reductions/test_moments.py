"""Moments merged from slots are exact, and the same bits whoever computed which part."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlake.tasks.reductions import moments
from patchlake.tasks.reductions.moments import Moments, chunk, combine, merge, node_moments
from patchlake.tasks.storage.location import Location

quick = settings(max_examples=100, deadline=None)


@st.composite
def slot_samples(draw: st.DrawFn) -> dict[int, np.ndarray]:
    """Return samples of some slots, some of them without any."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    d = draw(st.integers(1, 6))
    slots = draw(st.sets(st.integers(0, 40), min_size=1, max_size=12))
    counts = {slot: draw(st.sampled_from([0, 1, 2, 5, 60])) for slot in slots}
    mix, offset = rng.standard_normal((d, d)), 5 * rng.standard_normal(d)
    return {slot: rng.standard_normal((n, d)) @ mix + offset for slot, n in counts.items()}


def bits(found: Moments | None) -> tuple[int, bytes, bytes] | None:
    return found and (found.count, found.mean.tobytes(), found.scatter.tobytes())


@quick
@given(parts=slot_samples())
def test_merged_slots_have_the_moments_of_all_samples(parts: dict[int, np.ndarray]) -> None:
    everything = np.concatenate(list(parts.values()))
    found = merge((slot, chunk(samples)) for slot, samples in parts.items())
    if not len(everything):
        assert found is None
        return
    assert found is not None
    assert found.count == len(everything)
    np.testing.assert_allclose(found.mean, everything.mean(axis=0), rtol=1e-12, atol=1e-12)
    if found.count > 1:
        expected = np.cov(everything, rowvar=False).reshape(found.scatter.shape)
        covariance = found.scatter / (found.count - 1)
        np.testing.assert_allclose(covariance, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(found.scatter, found.scatter.T)


@quick
@given(parts=slot_samples(), level=st.integers(0, 6), seed=st.randoms(use_true_random=False))
def test_neither_grouping_nor_order_changes_a_bit(
    parts: dict[int, np.ndarray], level: int, seed: random.Random
) -> None:
    leaves = [(slot, chunk(samples)) for slot, samples in sorted(parts.items())]
    alone = merge(leaves)
    nodes: dict[int, list[tuple[int, Moments | None]]] = {}
    for slot, leaf in seed.sample(leaves, len(leaves)):
        nodes.setdefault(slot >> level, []).append((slot, leaf))
    grouped = [(node, merge(inside)) for node, inside in nodes.items()]
    assert bits(merge(seed.sample(grouped, len(grouped)))) == bits(alone)


@quick
@given(parts=slot_samples())
def test_slots_added_later_change_no_node_that_was_there(parts: dict[int, np.ndarray]) -> None:
    leaves = {slot: chunk(samples) for slot, samples in parts.items()}
    whole = merge(leaves.items())
    later = {slot + 64: leaf for slot, leaf in leaves.items()}
    both = merge({**leaves, **later}.items())
    assert bits(both) == bits(combine(whole, merge(later.items())))


def test_a_node_s_task_is_the_merge_of_its_slots(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    rng = np.random.default_rng(0)
    parts = {slot: rng.standard_normal((n, 3)).astype(np.float32) for slot, n in ((4, 10), (5, 0), (6, 3), (7, 1))}
    monkeypatch.setattr(moments, "slot_samples", lambda lake, product, slot, rows: parts[slot])
    found = node_moments(Location(str(tmp_path)), "flow", 64, (4, 5, 6, 7))
    everything = np.concatenate([parts[slot] for slot in parts]).astype(np.float64)
    assert found is not None
    assert found.count == 14
    np.testing.assert_allclose(found.mean, everything.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter / 13, np.cov(everything, rowvar=False), rtol=1e-12, atol=1e-14)


def test_a_large_offset_costs_no_digits() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(-512, 513, (4000, 2))  # in 1/1024: with 1e6 added still exact in float64
    samples = 1e6 + noise / 1024
    parts = [(slot, chunk(samples[slot * 100 : (slot + 1) * 100])) for slot in range(40)]
    found = merge(parts)
    assert found is not None
    n = len(noise)
    for i in range(2):
        mean = 10**6 + Fraction(int(noise[:, i].sum()), 1024 * n)
        assert found.mean[i] == pytest.approx(float(mean), rel=1e-15)
        for j in range(2):
            products = int((noise[:, i] * noise[:, j]).sum()) - Fraction(
                int(noise[:, i].sum()) * int(noise[:, j].sum()), n
            )
            scale = float(Fraction(int((noise[:, i] ** 2).sum()), 1024**2))
            assert found.scatter[i, j] == pytest.approx(float(products / 1024**2), abs=1e-10 * scale)


def test_none_stands_for_no_samples() -> None:
    one = chunk(np.array([[1.0, 2.0]]))
    assert chunk(np.empty((0, 3), dtype=np.float16)) is None
    assert one is not None
    assert (one.count, one.mean.tolist(), one.scatter.tolist()) == (1, [1, 2], [[0, 0], [0, 0]])
    assert combine(None, one) is one
    assert combine(one, None) is one
    assert combine(None, None) is None
    assert merge([]) is None
    assert merge([(3, None), (9, one)]) is one


def test_half_precision_samples_are_summed_in_double() -> None:
    samples = np.full((5000, 1), 60000, dtype=np.float16)
    found = chunk(samples)
    assert found is not None
    assert found.mean.dtype == np.float64
    assert (found.mean[0], found.scatter[0, 0]) == (float(samples[0, 0]), 0.0)


def test_two_by_hand() -> None:
    found = combine(chunk(np.array([[0.0], [2.0]])), chunk(np.array([[4.0], [6.0], [8.0]])))
    assert found is not None
    assert (found.count, found.mean.tolist(), found.scatter.tolist()) == (5, [4.0], [[40.0]])
