"""Charts shared by objectives: figures of the model and its controls, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.objectives.variants import CONTROLS, variant_of

Variants = Mapping[str, Mapping[str, Any]]
"""Name of a variant -> its figures; the model comes first."""
Score = tuple[float, Sequence[float] | None]
"""A figure and its interval."""


def title_of(name: str) -> str:
    """Return a variant's title in charts."""
    return variant_of(name).title


def meanings(variants: Variants) -> str:
    """Return a caption's explanation of the model and its controls."""
    return ", ".join(["the model", *(CONTROLS[name].meaning for name in list(variants)[1:] if name in CONTROLS)])


def bars(
    scores: Mapping[str, Score], xlabel: str, caption: str, *, title: str, mark: tuple[float, str] | None = None
) -> Picture:
    """Return a bar per variant with its interval, the model first; `mark` is the position and label of a line."""
    figure = canvas.blank(canvas.WIDTH, 0.85 + 0.34 * len(scores))
    ax = canvas.axes(figure, 1.25, 0.48, canvas.WIDTH - 2.8, 0.12 + 0.34 * len(scores))
    for y, (value, interval) in enumerate(scores.values()):
        _bar(ax, y, value, interval)
    if mark is not None:
        at, says = mark
        ax.axvline(at, color=canvas.COLOURS[3], linestyle="--", linewidth=1.2)
        ax.text(at, -0.62, says, color=canvas.COLOURS[3], ha="center", va="bottom")
    ax.set_yticks(range(len(scores)), [canvas.short(title_of(name)) for name in scores])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(scores) - 0.5, -0.55)
    ax.set_xlim(0, 1)
    ax.set_xlabel(xlabel)
    return canvas.picture(figure, caption, title=title)


def _bar(ax: Axes, y: int, value: float, interval: Sequence[float] | None) -> None:
    ax.barh(y, value, color=canvas.COLOURS[0] if y == 0 else canvas.PALE, height=0.62)
    text = f"{value:.3f}"
    if interval is not None:
        low, high = interval
        reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
        ax.errorbar(value, y, xerr=reach, color=canvas.INK, capsize=3, linewidth=1)
        text += f"  [{low:.2f}, {high:.2f}]"
    ax.text(1.012, y, text, va="center", transform=ax.get_yaxis_transform())


def curves(variants: Variants, panels: Sequence[tuple[str, str]], caption: str) -> Picture:
    """Return learning curves in two panels, (key of a curve's points, label) each; the second has the range 0 to 1."""
    figure = canvas.blank(canvas.WIDTH, 2.9)
    width = (canvas.WIDTH - 1.35) / 2
    for left, (key, text), is_share in zip((0.6, 1.3 + width), panels, (False, True), strict=True):
        ax = canvas.axes(figure, left, 0.48, width, 2.1)
        for (name, variant), colour in zip(variants.items(), canvas.colours(len(variants)), strict=True):
            epochs = [point["epoch"] + 1 for point in variant["curve"]]
            values = [point[key] for point in variant["curve"]]
            ax.plot(epochs, values, color=colour, marker="o", markersize=3.2, label=canvas.short(title_of(name)))
        ax.set_xlabel("epoch")
        ax.set_ylabel(text)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(True)
        if is_share:
            ax.set_ylim(0, 1.02)
        else:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(variants), handlelength=1.4)
    return canvas.picture(figure, caption, title="Learning curves")
