"""Charts of figures: where the time goes, and principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.reductions.pca import transform
from patchlake.tasks.report.facts import time_spent
from patchlake.tasks.report.sample import SEED, ClipView, Feature

MAX_POINTS = 3000
CELLS_A_CLIP = 256
MAX_COLOURS = 10
GREYS = {"other": canvas.PALE, "wait": canvas.GRID}
"""Parts of a run in which nothing of the job is done."""
LEGEND_COLUMNS = 6


def time_chart(ingest: Mapping[str, Any]) -> Picture | None:
    """Return where the workers' time went, per frame, and the bare parts beside it; None without figures.

    Without a sample of the light (nothing was decoded) the run stands alone; without times of units, its sum does.
    """
    rows, spent = ingest.get("rows") or 0, time_spent(ingest)
    light: dict[str, float] = ingest.get("light parts") or {}
    bars: list[tuple[str, dict[str, float]]] = []
    if light and ingest.get("frames/s"):
        bars.append(("speed of light", {name: seconds * 1e3 for name, seconds in light.items()}))
    if spent and rows:
        bars.append(("this run", {name: seconds / rows * 1e3 for name, seconds in spent.items()}))
    if not bars:
        return None
    names = dict.fromkeys(name for _, parts in reversed(bars) for name in parts)
    work = [name for name in names if name not in GREYS]
    colour_of = dict(zip(work, canvas.colours(len(work)), strict=True)) | GREYS
    figure = canvas.blank(canvas.WIDTH, 0.83 + 0.36 * len(bars) + 0.19 * ((len(names) - 1) // LEGEND_COLUMNS))
    ax = canvas.axes(figure, 1.15, 0.48, canvas.WIDTH - 1.35, 0.36 * len(bars))
    longest = max(sum(parts.values()) for _, parts in bars)
    for y, (_, parts) in enumerate(reversed(bars)):
        left = 0.0
        for name in (name for name in names if name in parts):
            ax.barh(y, parts[name], left=left, color=colour_of[name], height=0.62)
            left += parts[name]
        ax.text(left + longest * 0.008, y, f"{left:.2f} ms", va="center")
    ax.set_yticks(range(len(bars)), [name for name, _ in reversed(bars)])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, longest * 1.1)
    ax.set_xlabel("ms of one worker per frame")
    ax.spines["left"].set_visible(False)
    costs = bars[-1][1]
    handles = [
        ax.barh(0, 0, color=colour_of[n], label=f"{canvas.short(n, 18)} {costs[n]:.2f}" if n in costs else n)
        for n in names
    ]
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=LEGEND_COLUMNS,
        handlelength=0.9, columnspacing=1.2,
    )  # fmt: skip
    return canvas.picture(figure, _time_caption(bars, ingest))


def _time_caption(bars: Sequence[tuple[str, dict[str, float]]], ingest: Mapping[str, Any]) -> str:
    said = []
    for name, parts in bars:
        if name == "this run":
            said.append(
                f"What workers did for one frame in this run, {sum(parts.values()):.2f} ms: decode (waiting for it), "
                "each feature, write, other (between these), wait (nothing to do before a unit began)"
            )
        else:
            said.append(f"the bare parts alone, {sum(parts.values()):.2f} ms")
    text = "; ".join(reversed(said))
    if "frames/s" in ingest and "light frames/s" in ingest:
        workers = ingest["light frames/s"] * sum(ingest["light parts"].values())
        text += f". {workers:.0f} workers, {ingest['frames/s']:,.0f} frames/s from the first unit to the last commit"
    return f"{text[0].upper()}{text[1:]}."


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
