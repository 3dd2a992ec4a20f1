"""Principal components of a product's channels, over every stored cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.errors import LakeError, RecipeError
from patchlake.tasks.reductions import moments
from patchlake.tasks.reductions.reduction import ReductionOptions, SampledCells, State

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from patchlake.tasks.canvas import Picture

MAX_DIMENSIONS = 10_000
MAX_COLOURS = 10
SEED = 0
"""Seed of the order in which points are drawn."""


class PcaOptions(ReductionOptions):
    """Principal components of a product's channels, over every stored cell."""

    kind: Literal["pca"]
    components: Annotated[int, Field(ge=1)] = 16
    """Maximum number; fewer if the data has lower rank."""

    @property
    def key(self) -> dict[str, Any]:
        """All options; the product under its former name `feature`, so that earlier results stay current."""
        return {"kind": self.kind, "feature": self.product, "components": self.components}


@dataclass(frozen=True)
class Pca:
    """Components of the exact covariance."""

    options: PcaOptions
    version = 1
    heading = "Principal components"

    def chunk(self, values: npt.NDArray[np.floating]) -> State:
        """Return the moments of (n, channel) cells."""
        return moments.chunk(values)

    def combine(self, a: State, b: State) -> State:
        """Return the moments of both combined."""
        return moments.combine(a, b)

    def finalize(self, state: State, channels: Sequence[str]) -> xr.Dataset:
        """Return the components; see `pca`. Raises LakeError if a cell is not finite."""
        if not np.isfinite(state["scatter"]).all():
            raise LakeError(
                f"reduce {self.options.name}: some cells of {self.options.product} are NaN or infinite, expected "
                "finite ones; the reduction `quantiles` counts them by channel"
            )
        return pca(state, channels=channels, components=self.options.components)

    def figures(self, result: xr.Dataset) -> dict[str, int]:
        """Return the number of cells, their rank and the components kept."""
        return {
            "cells": int(result.attrs["count"]),
            "rank": int(result.attrs["rank"]),
            "components": result.sizes["component"],
        }

    def picture(self, result: xr.Dataset, cells: SampledCells) -> Picture | None:
        """Return scores of sampled cells on two components, and the explained variance; None without components."""
        return _picture(result, cells)


def pca(state: State, *, channels: Sequence[str], components: int) -> xr.Dataset:
    """Return the principal components of moments (see `moments.chunk`).

    Variables: components (component, channel) with unit rows, explained_variance (component) in the channels' squared
    units, explained_variance_ratio (component), mean (channel). Eigenvectors of the covariance (divisor n - 1),
    largest first; each one's largest entry is positive. Eigenvalues below d eps times the largest one count as 0;
    `rank` is the number of the others, and at most that many components are kept.

    Source: eigendecomposition of the exact covariance, like scikit-learn's PCA(svd_solver="covariance_eigh").
    """
    import xarray as xr

    count, mean = int(state["count"]), state["mean"]
    d = len(mean)
    if d > MAX_DIMENSIONS:
        raise RecipeError(f"reduce: got {d} channels, expected at most {MAX_DIMENSIONS} for the exact covariance")
    covariance = state["scatter"] / max(count - 1, 1)
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
            "mean": (("channel",), mean),
        },
        coords={"component": np.arange(kept)},
        attrs={
            "count": count,
            "rank": rank,
            "eigenvalue_floor": floor,
            "channel_names": list(channels),
        },
    )


def transform(samples: npt.NDArray[Any], model: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return the (n, component) scores of (n, channel) samples."""
    scores: npt.NDArray[np.float64] = (samples.astype(np.float64) - model["mean"].values) @ model["components"].values.T
    return scores


def _picture(model: xr.Dataset, cells: SampledCells) -> Picture | None:
    from patchlake.tasks import canvas  # imports matplotlib

    ratios = np.asarray(model["explained_variance_ratio"].values, np.float64)
    if not len(ratios):
        return None
    count = int(model.attrs["count"])
    figure = canvas.blank(canvas.WIDTH, 3.7)
    text = ""
    left = 0.62
    if len(ratios) > 1 and len(cells.values):
        _scatter(figure, transform(cells.values, model), cells.labels, ratios)
        left = 7.0
        text = f"One point is one cell of {cells.product}: {len(cells.values):,} sampled of {count:,}. "
    ax = canvas.axes(figure, left, 0.48, canvas.WIDTH - left - 0.05, 2.95)
    numbers = np.arange(1, len(ratios) + 1)
    ax.bar(numbers, ratios * 100, color=canvas.COLOURS[0], width=0.75)
    sums = np.cumsum(ratios) * 100
    ax.plot(numbers, sums, color=canvas.COLOURS[1], marker="o", markersize=2.5, linewidth=1.2)
    ax.text(numbers[-1], sums[-1] - 4, "sum", color=canvas.COLOURS[1], ha="right", va="top")
    ax.set_ylim(0, 103)
    ax.set_xlim(0.3, len(ratios) + 0.7)
    ax.set_xticks([n for n in numbers if n == 1 or n % max(1, 2 * (len(ratios) // 8)) == 0])
    ax.yaxis.grid(True)
    ax.set_xlabel("component")
    ax.set_ylabel("explained variance (%)")
    text += (
        f"Bars: each component's share of the variance of all {count:,} cells "
        f"({len(ratios)} components, rank {model.attrs['rank']}); line: their sum."
    )
    return canvas.picture(figure, text, title=f"PCA of {cells.product}")


def _scatter(figure: Figure, scores: np.ndarray, labels: Sequence[str | None], ratios: np.ndarray) -> None:
    from patchlake.tasks import canvas

    names = sorted({label for label in labels if label is not None})
    ax = canvas.axes(figure, 0.62, 0.48, 3.9 if len(set(labels)) > 1 else 5.5, 2.95)
    colour_of = dict(zip(names[:MAX_COLOURS], canvas.COLOURS, strict=False))
    found = np.array([canvas.FAINT if label is None else colour_of.get(label, canvas.PALE) for label in labels])
    order = np.random.default_rng(SEED).permutation(len(labels))  # so that no label covers the others
    ax.scatter(scores[order, 0], scores[order, 1], c=found[order], s=9, alpha=0.65, linewidths=0)
    ax.set_xlabel(f"component 1 ({ratios[0]:.0%} of the variance)")
    ax.set_ylabel(f"component 2 ({ratios[1]:.0%})")
    ax.grid(True)
    if len(set(labels)) < 2:
        return
    entries = {canvas.short(name, 20): colour for name, colour in colour_of.items()}
    if len(names) > MAX_COLOURS:
        entries[f"{len(names) - MAX_COLOURS} more labels"] = canvas.PALE
    if None in labels:
        entries["no label"] = canvas.FAINT
    handles = [ax.scatter([], [], c=colour, s=26, label=name) for name, colour in entries.items()]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2)
