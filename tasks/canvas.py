"""Pictures as values: drawn with matplotlib's objects (no pyplot, no global figure), kept as base64 PNG."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 9.6
"""Width in inches of a picture that fills the page's column."""
CSS_DPI, PNG_DPI = 96, 168
INK, FAINT, PALE, GRID = "#1f2933", "#7b8794", "#c0c9d3", "#e4e7eb"
COLOURS = (
    "#2f6db3", "#e07b39", "#3d9970", "#b8405e", "#7d62b5",
    "#8f6b45", "#d284b4", "#a8a12c", "#35a2b5", "#5b6770",
)  # fmt: skip
_FONTS = ("Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans Arabic")
"""Fallback fonts for glyphs that DejaVu Sans lacks, where installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A drawn picture and what it shows."""

    png: str
    """Base64."""
    width: int
    """CSS pixels."""
    height: int
    caption: str
    """One sentence: what is shown, in which unit."""
    title: str = ""


@contextmanager
def style() -> Iterator[None]:
    """Apply one style to everything drawn inside; text is literal, so a `$` in a label stays a `$`."""
    known = set(font_manager.get_font_names())
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *(name for name in _FONTS if name in known)],
        "font.size": 8.5, "axes.labelsize": 8.5, "axes.titlesize": 9, "legend.fontsize": 8.5,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.frameon": False, "text.parse_math": False,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": FAINT, "ytick.color": FAINT,
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.edgecolor": FAINT, "axes.linewidth": 0.7,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "grid.color": GRID,
        "axes.axisbelow": True, "lines.linewidth": 1.8, "figure.facecolor": "white",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def blank(width: float, height: float) -> Figure:
    """Return an empty figure; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=PNG_DPI)
    FigureCanvasAgg(figure)
    return figure


def axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Return axes whose frame lies at these inches from the figure's lower left corner."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / tall, width / wide, height / tall))


def picture(figure: Figure, caption: str, *, title: str = "") -> Picture:
    """Draw the figure; equal figures give equal bytes."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # no installed font has it: a box is drawn
        figure.savefig(data, format="png", metadata={"Software": None})
    width, height = figure.get_size_inches()
    return Picture(
        png=base64.b64encode(data.getvalue()).decode(),
        width=round(width * CSS_DPI),
        height=round(height * CSS_DPI),
        caption=caption,
        title=title,
    )


def colours(count: int) -> list[str]:
    """Return `count` colours; they repeat after ten."""
    return list(islice(cycle(COLOURS), count))


def short(text: str, length: int = 24) -> str:
    """Return the text as one line, its middle cut out where it is longer than `length`."""
    line = " ".join(text.split())
    half = (length - 1) // 2
    return line if len(line) <= length else f"{line[:half]}…{line[-half:]}"
