"""Moments merged from slots are exact, and the same bits whoever computed which part."""

from __future__ import annotations

import random
from collections.abc import Iterable
from fractions import Fraction
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlake.tasks.reductions.moments import chunk, combine
from patchlake.tasks.reductions.reduction import State
from patchlake.tasks.reductions.tree import fold

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


def leaf(samples: np.ndarray) -> State | None:
    return chunk(samples) if len(samples) else None


def merge(parts: Iterable[tuple[int, State | None]]) -> State | None:
    return fold(sorted(parts, key=itemgetter(0)), combine)


def bits(found: State | None) -> dict[str, bytes] | None:
    return found and {name: value.tobytes() for name, value in found.items()}


def level_by_level(parts: Iterable[tuple[int, State | None]]) -> State | None:
    """Merge as the tree is defined: all nodes of a level, then the next."""
    nodes = {number: part for number, part in parts if part is not None}
    while len(nodes) > 1:
        parents: dict[int, State] = {}
        for number in sorted(nodes):
            known = parents.get(number // 2)
            parents[number // 2] = nodes[number] if known is None else combine(known, nodes[number])
        nodes = parents
    return next(iter(nodes.values()), None)


@quick
@given(parts=slot_samples())
def test_merged_slots_have_the_moments_of_all_samples(parts: dict[int, np.ndarray]) -> None:
    everything = np.concatenate(list(parts.values()))
    found = merge((slot, leaf(samples)) for slot, samples in parts.items())
    if not len(everything):
        assert found is None
        return
    assert found is not None
    assert found["count"] == len(everything)
    np.testing.assert_allclose(found["mean"], everything.mean(axis=0), rtol=1e-12, atol=1e-12)
    if found["count"] > 1:
        expected = np.cov(everything, rowvar=False).reshape(found["scatter"].shape)
        covariance = found["scatter"] / (found["count"] - 1)
        np.testing.assert_allclose(covariance, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(found["scatter"], found["scatter"].T)


@quick
@given(parts=slot_samples(), level=st.integers(0, 6), seed=st.randoms(use_true_random=False))
def test_neither_grouping_nor_order_changes_a_bit(
    parts: dict[int, np.ndarray], level: int, seed: random.Random
) -> None:
    leaves = [(slot, leaf(samples)) for slot, samples in sorted(parts.items())]
    alone = merge(leaves)
    nodes: dict[int, list[tuple[int, State | None]]] = {}
    for slot, state in seed.sample(leaves, len(leaves)):
        nodes.setdefault(slot >> level, []).append((slot, state))
    grouped = [(node, merge(inside)) for node, inside in nodes.items()]
    assert bits(merge(seed.sample(grouped, len(grouped)))) == bits(alone)


@quick
@given(parts=slot_samples())
def test_slots_added_later_change_no_node_that_was_there(parts: dict[int, np.ndarray]) -> None:
    leaves = {slot: leaf(samples) for slot, samples in parts.items()}
    whole = merge(leaves.items())
    later = {slot + 64: state for slot, state in leaves.items()}
    both = merge({**leaves, **later}.items())
    after = merge(later.items())
    assert bits(both) == (bits(combine(whole, after)) if whole and after else None)


@quick
@given(parts=slot_samples())
def test_streamed_merges_are_those_of_the_tree_level_by_level(parts: dict[int, np.ndarray]) -> None:
    leaves = [(slot, leaf(samples)) for slot, samples in parts.items()]
    assert bits(merge(leaves)) == bits(level_by_level(leaves))


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
        assert found["mean"][i] == pytest.approx(float(mean), rel=1e-15)
        for j in range(2):
            products = int((noise[:, i] * noise[:, j]).sum()) - Fraction(
                int(noise[:, i].sum()) * int(noise[:, j].sum()), n
            )
            scale = float(Fraction(int((noise[:, i] ** 2).sum()), 1024**2))
            assert found["scatter"][i, j] == pytest.approx(float(products / 1024**2), abs=1e-10 * scale)


def test_none_stands_for_no_samples() -> None:
    one = chunk(np.array([[1.0, 2.0]]))
    assert (int(one["count"]), one["mean"].tolist(), one["scatter"].tolist()) == (1, [1, 2], [[0, 0], [0, 0]])
    assert merge([]) is None
    assert merge([(3, None), (9, one)]) is one


def test_counts_beyond_64_bits_are_exact() -> None:
    a = {"count": np.array(5 * 10**9), "mean": np.array([1.0]), "scatter": np.array([[0.0]])}
    found = combine(a, {**a, "mean": np.array([2.0])})
    assert found["scatter"][0, 0] == 2.5e9


def test_half_precision_samples_are_summed_in_double() -> None:
    samples = np.full((5000, 1), 60000, dtype=np.float16)
    found = chunk(samples)
    assert found["mean"].dtype == np.float64
    assert (found["mean"][0], found["scatter"][0, 0]) == (float(samples[0, 0]), 0.0)


def test_two_by_hand() -> None:
    found = combine(chunk(np.array([[0.0], [2.0]])), chunk(np.array([[4.0], [6.0], [8.0]])))
    assert (found["count"], found["mean"].tolist(), found["scatter"].tolist()) == (5, [4.0], [[40.0]])
