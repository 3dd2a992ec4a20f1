"""Where the time of a run went, compared with its speed of light."""

from __future__ import annotations

from collections.abc import Sequence

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.figures import IngestFigures

GREYS = {"other": canvas.PALE, "wait": canvas.GRID}
"""Parts of a run in which no work of the job is done."""
LEGEND_COLUMNS = 6


def time_chart(ingest: IngestFigures) -> Picture | None:
    """Return a chart of the workers' time per frame, and of the bare parts; None without figures.

    Without a sample of the light (nothing was decoded) only the run is shown; without times of units, only the light.
    """
    rows, spent, light = ingest.rows, ingest.time_spent(), ingest.light
    bars: list[tuple[str, dict[str, float]]] = []
    if light is not None and light.parts:
        bars.append(("speed of light", {name: seconds * 1e3 for name, seconds in light.parts.items()}))
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


def _time_caption(bars: Sequence[tuple[str, dict[str, float]]], ingest: IngestFigures) -> str:
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
    if (light := ingest.light) is not None:
        workers = light.light_frames_per_second * sum(light.parts.values())
        text += (
            f". {workers:.0f} workers, {light.frames_per_second:,.0f} frames/s from the first unit to the last commit"
        )
    return f"{text[0].upper()}{text[1:]}."
