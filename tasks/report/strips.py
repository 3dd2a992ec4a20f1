"""Clips as film strips: frames at patch time steps under the patch grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.grid import Grid
from patchlake.tasks.report.sample import ClipView, Frames
from patchlake.tasks.types import FrameArray

FRAMES_A_STRIP, MIN_COLUMNS = 6, 4
_GAP = 0.08
_TEXT = 0.26


def film_strips(frames: Frames, clips: Sequence[ClipView], patches: Grid) -> list[Picture]:
    """Return a strip for each clip: frames at up to six of its patch time steps, with their times."""
    rows = [strip_rows(clip, patches) for clip in clips]
    columns = max(MIN_COLUMNS, *map(len, rows)) if rows else 0
    return [_film_strip(frames, clip, r, patches, columns) for clip, r in zip(clips, rows, strict=True)]


def _film_strip(frames: Frames, clip: ClipView, rows: list[int], patches: Grid, columns: int) -> Picture:
    shown, seconds = frames.at(rows), frames.seconds_at(rows)
    height, width = shown.shape[1:3]
    panel = (canvas.WIDTH - _GAP * (columns - 1)) / columns
    figure = canvas.blank(canvas.WIDTH, panel * height / width + _TEXT)
    for i, (frame, second) in enumerate(zip(shown, seconds, strict=True)):
        ax = canvas.axes(figure, i * (panel + _GAP), _TEXT, panel, panel * height / width)
        show(ax, frame)
        draw_grid(ax, patches, (height, width))
        ax.text(0.5, -0.05, f"{second:.2f} s", transform=ax.transAxes, ha="center", va="top")
    label = "no label" if clip.label is None else clip.label
    return canvas.picture(figure, _caption(clip, len(rows), patches), title=label)


def strip_rows(clip: ClipView, patches: Grid) -> list[int]:
    """Return the pixel rows to show: first frames of the clip's patches, evenly spaced.

    Spans start on multiples of every time stride, so a patch starts at each row that the stride divides.
    """
    stride, length = patches.stride[0], patches.size[0]
    first = -(-clip.row_start // stride) * stride
    steps = range(first, clip.row_stop - length + 1, stride) or range(clip.row_start, clip.row_start + 1)
    picked = np.linspace(0, len(steps) - 1, min(FRAMES_A_STRIP, len(steps))).round().astype(int)
    return [steps[i] for i in picked]


def _caption(clip: ClipView, count: int, patches: Grid) -> str:
    time, y, x = patches.size
    steps = "the first frame of one patch time step" if count == 1 else f"the first frames of {count} patch time steps"
    return (
        f"{clip.name}, {clip.start_seconds:.2f} to {clip.stop_seconds:.2f} s: {steps}, seconds below. "
        f"Lines: patches of {time} frames by {y} by {x} pixels."
    )


def show(ax: Axes, frame: FrameArray) -> None:
    """Show a frame in frame-grid pixels, where pixel i covers [i, i + 1)."""
    height, width = frame.shape[:2]
    shown = frame[..., 0] if frame.shape[2] == 1 else frame
    ax.imshow(shown, extent=(0, width, height, 0), interpolation="nearest", cmap="gray", vmin=0, vmax=255)
    bare(ax, height, width)


def bare(ax: Axes, height: float, width: float) -> None:
    """Hide the axes and limit them to the frame."""
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)


def draw_grid(ax: Axes, patches: Grid, size: Sequence[int]) -> None:
    """Draw the borders of patches, and fade what lies in no patch."""
    height, width = size
    ys, xs = patches.starts(1, height), patches.starts(2, width)
    bottom, right = ys[-1] + patches.size[1], xs[-1] + patches.size[2]
    thickness = 0.8 if max(len(ys), len(xs)) <= 16 else 0.4
    y_lines = sorted({*ys, *(y + patches.size[1] for y in ys)})
    x_lines = sorted({*xs, *(x + patches.size[2] for x in xs)})
    for colour, extra in (("black", 0.9), ("white", 0.0)):  # dark edges keep white lines visible on white
        alpha, line = (0.25, thickness + extra) if extra else (0.9, thickness)
        ax.hlines(y_lines, xs[0], right, colors=colour, linewidth=line, alpha=alpha)
        ax.vlines(x_lines, ys[0], bottom, colors=colour, linewidth=line, alpha=alpha)
    for left, top, wide, tall in ((right, 0, width - right, height), (0, bottom, right, height - bottom)):
        if wide > 0 and tall > 0:
            ax.add_patch(Rectangle((left, top), wide, tall, color="white", alpha=0.6, linewidth=0))
