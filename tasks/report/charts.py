"""Charts of figures: where the time goes, and principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from patchlake.tasks.reductions.pca import transform
from patchlake.tasks.report import canvas
from patchlake.tasks.report.canvas import Picture
from patchlake.tasks.report.sample import SEED, ClipView, Feature

MAX_POINTS = 3000
CELLS_A_CLIP = 256
MAX_COLOURS = 10


def light_chart(ingest: Mapping[str, Any]) -> Picture | None:
    """Return what a frame costs: the bare parts in a row, and what the run took; None without sample."""
    parts: dict[str, float] = ingest.get("light parts") or {}
    if not parts or not ingest.get("frames/s"):
        return None
    total = sum(parts.values())
    workers = ingest["light frames/s"] * total
    measured = workers / ingest["frames/s"] * 1e3
    figure = canvas.blank(canvas.WIDTH, 1.55)
    ax = canvas.axes(figure, 1.15, 0.48, canvas.WIDTH - 1.35, 0.72)
    left = 0.0
    for (name, seconds), colour in zip(parts.items(), canvas.colours(len(parts)), strict=True):
        cost = seconds * 1e3
        ax.barh(1, cost, left=left, color=colour, height=0.62, label=f"{canvas.short(name)} {cost:.2f}")
        left += cost
    ax.barh(0, measured, color=canvas.PALE, height=0.62)
    longest = max(left, measured)
    for y, value in ((1, left), (0, measured)):
        ax.text(value + longest * 0.008, y, f"{value:.2f} ms", va="center")
    ax.set_yticks([0, 1], ["this run", "speed of light"])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, longest * 1.1)
    ax.set_xlabel("ms per frame on one worker")
    ax.spines["left"].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=6, handlelength=0.9, columnspacing=1.4)
    caption = (
        f"Milliseconds of one worker per frame: the bare parts alone, which add up to {left:.2f} ms, and "
        f"what the run took ({measured:.2f} ms, everything included, {workers:.0f} workers)."
    )
    return canvas.picture(figure, caption)


def pca_chart(model: xr.Dataset, feature: Feature, clips: Sequence[ClipView]) -> Picture | None:
    """Return scores of sampled cells on two components, and the explained variance; None without any."""
    ratios = np.asarray(model["explained_variance_ratio"].values, np.float64)
    if not len(ratios):
        return None
    count = int(model.attrs["count"])
    figure = canvas.blank(canvas.WIDTH, 3.7)
    samples, labels = sample_cells(feature, clips)
    text = ""
    left = 0.62
    if len(ratios) > 1 and len(samples):
        _scatter(figure, transform(samples, model), labels, ratios)
        left = 7.0
        text = f"One point is one cell of {feature.name}: {len(samples):,} sampled of {count:,}. "
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
    return canvas.picture(figure, text, title=f"PCA of {feature.name}")


def sample_cells(feature: Feature, clips: Sequence[ClipView]) -> tuple[np.ndarray, list[str | None]]:
    """Return cells (n, channel) of a few rows of each clip, at most MAX_POINTS, and their clips' labels."""
    rng = np.random.default_rng(SEED)
    parts: list[np.ndarray] = []
    labels: list[str | None] = []
    for clip in clips:
        rows, _ = feature.rows_of(clip)
        if not len(rows):
            continue
        count = min(len(rows), max(1, CELLS_A_CLIP // (len(feature.y) * len(feature.x))))
        first = int(rows[(len(rows) - count) // 2])
        block = np.asarray(feature.values[first : first + count], np.float64)
        cells = block.reshape(-1, len(feature.channels))
        kept = rng.permutation(len(cells))[: max(1, MAX_POINTS // len(clips))]
        parts.append(cells[kept])
        labels += [clip.label] * len(kept)
    return (np.concatenate(parts) if parts else np.empty((0, len(feature.channels)))), labels


def _scatter(figure: Figure, scores: np.ndarray, labels: list[str | None], ratios: np.ndarray) -> None:
    names = sorted({label for label in labels if label is not None})
    ax = canvas.axes(figure, 0.62, 0.48, 3.9 if len(set(labels)) > 1 else 5.5, 2.95)
    colour_of = dict(zip(names[:MAX_COLOURS], canvas.COLOURS, strict=False))
    found = np.array([canvas.FAINT if label is None else colour_of.get(label, canvas.PALE) for label in labels])
    order = np.random.default_rng(SEED).permutation(len(labels))  # no label lies on top of the others
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
