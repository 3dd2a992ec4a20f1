"""Sound over time: the bands of `audio`, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.report.sample import ClipView, Feature

_LOUD, _QUIET = 0.0, -100.0
_GAP, _LEFT, _BELOW, _TITLE, _BAR, _TALL = 0.16, 0.6, 0.42, 0.3, 0.75, 2.2
_TICKS = 5


def sound_picture(feature: Feature, clips: Sequence[ClipView]) -> Picture | None:
    """Return a picture of the bands of each clip's rows over time, or None if no clip has rows."""
    found = [(clip, *feature.rows_of(clip)) for clip in clips]
    found = [(clip, rows, seconds) for clip, rows, seconds in found if len(rows)]
    if not found:
        return None
    panel = (canvas.WIDTH - _LEFT - _BAR - _GAP * len(found)) / len(found)
    figure = canvas.blank(canvas.WIDTH, _TALL + _BELOW + _TITLE)
    bands = [name.removeprefix("mel_") for name in feature.channels[:-1]]
    at = np.linspace(0, len(bands) - 1, _TICKS).round().astype(int)
    for i, (clip, rows, seconds) in enumerate(found):
        values = np.asarray(feature.values[int(rows[0]) : int(rows[-1]) + 1], np.float64)[rows - rows[0], 0, 0, :-1]
        ax = canvas.axes(figure, _LEFT + i * (panel + _GAP), _BELOW, panel, _TALL)
        extent = (float(seconds[0]), float(max(seconds[-1], seconds[0] + 1e-3)), -0.5, len(bands) - 0.5)
        image = ax.imshow(
            values.T, origin="lower", aspect="auto", extent=extent, vmin=_QUIET, vmax=_LOUD, cmap="magma",
            interpolation="nearest",
        )  # fmt: skip
        ax.set_title(canvas.short(clip.name), pad=5)
        ax.set_xlabel("seconds")
        ax.set_yticks(at, [bands[k] for k in at] if i == 0 else [""] * len(at))
        if i == 0:
            ax.set_ylabel("Hz")
    bar = figure.colorbar(image, cax=canvas.axes(figure, canvas.WIDTH - _BAR + 0.02, _BELOW, 0.13, _TALL))
    bar.outline.set_visible(False)
    bar.set_label("dB")
    caption = f"{feature.name}: mean power in each mel band over time, decibels; black where there is no sound."
    return canvas.picture(figure, caption, title=feature.name)
