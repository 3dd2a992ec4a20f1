"""Pictures of feature maps over their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.report.sample import ClipView, Feature, Frames
from patchlake.tasks.report.strips import bare
from patchlake.tasks.types import FrameArray

_GAP, _TITLE, _BELOW, _BAR = 0.12, 0.24, 0.26, 0.95
PANELS = 4

Map = npt.NDArray[np.float64]


def _translucent(name: str, strength: npt.NDArray[np.float64]) -> ListedColormap:
    """Return a colour map whose opacity follows the strength, so that the frame shows through small values."""
    colours = colormaps[name](np.linspace(0, 1, len(strength)))
    colours[:, 3] = strength
    return ListedColormap(colours)


HEAT = _translucent("YlOrRd", np.linspace(0.1, 0.8, 256))
SIGNED = _translucent("RdBu_r", 0.15 + 0.65 * np.abs(np.linspace(-1, 1, 256)))


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What is shown of a feature (one number per cell), and how."""

    maps: list[Map]
    what: str
    unit: str
    colours: ListedColormap
    limits: tuple[float, float]
    arrows: list[npt.NDArray[np.float64]] | None = None
    """(y, x, 2): u to the right, v down."""


def feature_map(
    feature: Feature, clips: Sequence[ClipView], frames: Frames | None, frame_size: tuple[int, int]
) -> Picture | None:
    """Return a picture of one row of the feature for each of a few clips, over its centre frame; None: no rows."""
    picked = []
    for clip in clips:
        rows, seconds = feature.rows_of(clip)
        if len(rows):
            middle = len(rows) // 2
            picked.append((clip, int(rows[middle]), float(seconds[middle])))
    if not picked:
        return None
    picked = picked[:PANELS]
    values = [np.asarray(feature.values[row], np.float64) for _, row, _ in picked]
    look = _look(feature, values)
    height, width = frame_size
    panel = (canvas.WIDTH - _BAR - _GAP * PANELS) / PANELS
    tall = panel * height / width
    figure = canvas.blank(canvas.WIDTH, tall + _TITLE + _BELOW)
    box = _extent(feature, height, width)
    by_label = len({clip.label for clip, _, _ in picked}) == len(picked)
    for i, (clip, row, second) in enumerate(picked):
        ax = canvas.axes(figure, i * (panel + _GAP), _BELOW, panel, tall)
        if frames is not None:
            _backdrop(ax, frames.at([feature.frame_row(row)])[0])
        image = ax.imshow(
            look.maps[i], extent=box, cmap=look.colours, vmin=look.limits[0], vmax=look.limits[1],
            interpolation="nearest",
        )  # fmt: skip
        bare(ax, height, width)
        if look.arrows is not None:
            _draw_arrows(ax, feature, look.arrows[i], max(np.hypot(*a.T).max() for a in look.arrows))
        ax.set_title(canvas.short((clip.label if by_label else None) or clip.name), pad=5)
        ax.text(0.5, -0.04, f"{second:.2f} s", transform=ax.transAxes, ha="center", va="top")
    left = len(picked) * (panel + _GAP) + 0.02
    bar = figure.colorbar(image, cax=canvas.axes(figure, left, _BELOW, 0.13, tall))
    bar.outline.set_visible(False)
    bar.set_label(f"{look.what}\n({look.unit})")
    return canvas.picture(figure, _caption(feature, look, frames is not None), title=feature.name)


def _look(feature: Feature, values: list[npt.NDArray[np.float64]]) -> _Look:
    channels = feature.channels
    for name in ("speed", "magnitude"):
        if name in channels:
            at = channels.index(name)
            maps = [v[..., at] for v in values]
            top = max(float(np.max(maps)), 1e-9)
            uv = [channels.index(c) for c in ("u", "v")] if {"u", "v"} <= set(channels) else None
            arrows = [v[..., uv] for v in values] if uv else None
            unit = feature.units[at]
            return _Look(maps=maps, what=name, unit=unit, colours=HEAT, limits=(0, top), arrows=arrows)
    maps, share = first_component(values)
    top = max(float(np.abs(maps).max()), 1e-9)
    unit = f"{share:.0%} of their variance"
    return _Look(maps=maps, what="first component", unit=unit, colours=SIGNED, limits=(-top, top))


def first_component(values: list[npt.NDArray[np.float64]]) -> tuple[list[Map], float]:
    """Return (y, x) maps of scores on the first principal component of all given cells, and its share of variance."""
    stacked = np.stack(values)
    cells = stacked.reshape(-1, stacked.shape[-1])
    centred = cells - cells.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    first = axes[0] * np.sign(axes[0][np.abs(axes[0]).argmax()])
    total = float((sizes**2).sum())
    scores = (centred @ first).reshape(stacked.shape[:-1])
    return list(scores), float(sizes[0] ** 2 / total) if total else 0.0


def _extent(feature: Feature, height: int, width: int) -> tuple[float, float, float, float]:
    """Return left, right, bottom, top of the cells; a cell's width is the distance between cell centres."""
    (top, bottom), (left, right) = (_ends(centres, size) for centres, size in ((feature.y, height), (feature.x, width)))
    return left, right, bottom, top


def _ends(centres: npt.NDArray[np.float64], size: int) -> tuple[float, float]:
    half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else min(centres[0], size - centres[0])
    return float(centres[0] - half), float(centres[-1] + half)


def _backdrop(ax: Axes, frame: FrameArray) -> None:
    """Show the frame in light grey, so that all colours are the feature's."""
    box = (0, frame.shape[1], frame.shape[0], 0)
    ax.imshow(frame.mean(axis=2), extent=box, cmap="gray", vmin=-70, vmax=255, interpolation="nearest")


def _draw_arrows(ax: Axes, feature: Feature, uv: npt.NDArray[np.float64], longest: float) -> None:
    """Draw u and v as arrows at the cells' centres; the longest arrow is as long as a cell."""
    x, y = np.meshgrid(feature.x, feature.y)
    pitch = min(_pitch(feature.x), _pitch(feature.y))
    scale = longest / (0.95 * pitch) if longest else 1.0
    for colour, extra in (("black", 1.2), ("white", 0.0)):
        ax.quiver(
            x, y, uv[..., 0], uv[..., 1], color=colour,
            angles="xy", scale_units="xy", scale=scale, pivot="mid", units="xy", width=0.05 * pitch,
            headwidth=3.4, headlength=3.8, headaxislength=3.4, minlength=0.5,
            linewidth=extra, edgecolor=colour,
        )  # fmt: skip


def _pitch(centres: npt.NDArray[np.float64]) -> float:
    return float(centres[1] - centres[0]) if len(centres) > 1 else 2 * float(centres[0])


def _caption(feature: Feature, look: _Look, over_frames: bool) -> str:
    where = "over the frame at its centre" if over_frames else "without frames, as none are kept"
    cells = "all shown cells" if look.colours is SIGNED else "one row per clip"
    text = f"{feature.name}: {look.what} of {cells} ({look.unit}), {where}, its time below. "
    text += "One square is one cell."
    if look.arrows is not None:
        text += " Arrows: mean displacement (u, v) of each cell, to one scale."
    return text
