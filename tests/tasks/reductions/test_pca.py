"""Principal components are scikit-learn's, up to sign, and no more than the data has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from patchlake.tasks.errors import LakeError, RecipeError
from patchlake.tasks.reductions.moments import chunk, combine
from patchlake.tasks.reductions.pca import Pca, PcaOptions, pca, transform
from patchlake.tasks.reductions.reduction import State
from patchlake.tasks.reductions.tree import fold


def names(d: int) -> list[str]:
    return [f"c{i}" for i in range(d)]


def moments_of(samples: np.ndarray, *, slots: int = 5) -> State:
    found = fold(((slot, chunk(part)) for slot, part in enumerate(np.array_split(samples, slots))), combine)
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "d", "components"), [(400, 8, 3), (400, 8, 8), (50, 20, 20), (1000, 16, 1), (30, 1, 1)])
def test_components_are_scikit_learn_s(n: int, d: int, components: int) -> None:
    rng = np.random.default_rng(n + d)
    samples = rng.standard_normal((n, d)) * np.geomspace(10, 0.1, d) @ np.linalg.qr(rng.standard_normal((d, d)))[0] + 7
    reference = PCA(n_components=components, svd_solver="covariance_eigh").fit(samples)
    model = pca(moments_of(samples), channels=names(d), components=components)
    np.testing.assert_allclose(model["explained_variance"], reference.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(model["explained_variance_ratio"], reference.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(model["mean"], reference.mean_, rtol=1e-12)
    signs = np.sign((model["components"].values * reference.components_).sum(axis=1))
    np.testing.assert_allclose(model["components"].values * signs[:, None], reference.components_, atol=1e-9)
    np.testing.assert_allclose(transform(samples, model) * signs, reference.transform(samples), atol=1e-8)
    assert model.attrs["rank"] == d
    assert model.attrs["count"] == n
    assert model.attrs["channel_names"] == names(d)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), d=st.integers(1, 12), components=st.integers(1, 14))
def test_components_are_orthonormal_largest_first_and_point_one_way(seed: int, d: int, components: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((200, d)) @ rng.standard_normal((d, d))
    model = pca(moments_of(samples), channels=names(d), components=components)
    vectors = model["components"].values
    assert vectors.shape == (min(components, d), d)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-10)
    assert (np.diff(model["explained_variance"]) <= 0).all()
    assert (vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)] > 0).all()
    covariance = np.cov(samples, rowvar=False).reshape(d, d)
    largest = np.abs(covariance).max()
    np.testing.assert_allclose(
        vectors @ covariance @ vectors.T, np.diag(model["explained_variance"]), atol=1e-10 * largest
    )


@pytest.mark.parametrize(("d", "rank"), [(6, 1), (6, 3), (6, 5), (16, 4), (16, 15), (40, 10), (3, 2), (2, 1)])
@pytest.mark.parametrize("n", [60, 20_000])
def test_the_rank_of_flat_data_is_seen(d: int, rank: int, n: int) -> None:
    rng = np.random.default_rng(d * rank)
    samples = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) + 3
    model = pca(moments_of(samples), channels=names(d), components=d)
    assert model.attrs["rank"] == rank
    assert model["components"].shape == (rank, d)
    assert model["explained_variance_ratio"].sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_channels_that_never_change_add_no_rank(offset: float) -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((500, 5))
    samples[:, [1, 3]] = offset
    model = pca(moments_of(samples), channels=names(5), components=5)
    assert model.attrs["rank"] == 3
    np.testing.assert_allclose(model["components"].values[:, [1, 3]], 0, atol=1e-12)


def test_data_that_never_changes_has_no_component() -> None:
    for samples in (np.full((50, 3), 2.5), np.array([[1.0, 2.0, 3.0]])):
        model = pca(moments_of(samples, slots=1), channels=names(3), components=2)
        assert model.attrs["rank"] == 0
        assert model["components"].shape == (0, 3)
        assert transform(samples, model).shape == (len(samples), 0)


def test_too_many_channels_are_refused() -> None:
    many = 10_001
    huge = {"count": np.array(2), "mean": np.zeros(many), "scatter": np.broadcast_to(np.zeros(1), (many, many))}
    with pytest.raises(RecipeError, match="got 10001 channels, expected at most 10000"):
        pca(huge, channels=[], components=2)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_cells_that_are_not_finite_are_named(wrong: float) -> None:
    reduction = Pca(PcaOptions(kind="pca", product="flow"))
    samples = np.zeros((4, 2))
    samples[1, 1] = wrong
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(LakeError, match="pca-flow: some cells of flow are NaN or infinite"),
    ):
        reduction.finalize(reduction.chunk(samples), ["a", "b"])
