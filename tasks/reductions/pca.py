"""Principal components from exact moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.reductions.moments import Moments

MAX_DIMENSIONS = 10_000


def pca(moments: Moments, *, channels: Sequence[str], components: int) -> xr.Dataset:
    """Return the principal components of a feature's channels.

    Variables: components (component, channel) with unit rows, explained_variance (component) in the channels' squared
    units, explained_variance_ratio (component), mean (channel). Eigenvectors of the covariance (divisor n - 1),
    largest first; each one's largest entry is positive. Eigenvalues below a floor of d eps times the largest count
    as 0: `rank` says how many do not, and no more components than that are kept.

    Source: eigendecomposition of the exact covariance, as scikit-learn's PCA(svd_solver="covariance_eigh").
    """
    d = len(moments.mean)
    if d > MAX_DIMENSIONS:
        raise RecipeError(f"reduce: got {d} channels, expected at most {MAX_DIMENSIONS} for the exact covariance")
    covariance = moments.scatter / max(moments.count - 1, 1)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1].T
    floor = max(float(values[0]), 0.0) * d * np.finfo(np.float64).eps
    rank = int((values > floor).sum())
    kept = min(components, rank)
    largest = np.abs(vectors).argmax(axis=1)
    vectors = vectors * np.sign(vectors[np.arange(d), largest])[:, None]
    total = float(values[values > 0].sum())
    return xr.Dataset(
        {
            "components": (("component", "channel"), vectors[:kept]),
            "explained_variance": (("component",), values[:kept]),
            "explained_variance_ratio": (("component",), values[:kept] / total if total else values[:kept]),
            "mean": (("channel",), moments.mean),
        },
        coords={"component": np.arange(kept)},
        attrs={
            "count": moments.count,
            "rank": rank,
            "eigenvalue_floor": floor,
            "channel_names": list(channels),
        },
    )


def transform(samples: np.ndarray, model: xr.Dataset) -> np.ndarray:
    """Return the (n, component) scores of (n, channel) samples."""
    scores: np.ndarray = (samples.astype(np.float64) - model["mean"].values) @ model["components"].values.T
    return scores
