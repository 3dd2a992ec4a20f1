"""Frame filters, before and after: decodes a few frames of a few clips again, and filters them step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from patchlake.tasks import canvas, filters
from patchlake.tasks.canvas import Picture
from patchlake.tasks.errors import PatchlakeError
from patchlake.tasks.filters.stream import Filtering
from patchlake.tasks.lake import schema
from patchlake.tasks.lake.reading import boxes_of
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan.given import read_given
from patchlake.tasks.plan.survey import frame_source
from patchlake.tasks.plan.units import read_range_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.report.sample import ClipView
from patchlake.tasks.report.strips import show
from patchlake.tasks.types import FrameArray, FrameSource, Placement
from patchlake.tasks.video import frames
from patchlake.tasks.video.decoder import Decoder
from patchlake.tasks.video.frames import Ticker

MOST_CLIPS, ROWS = 2, 24
_GAP, _TEXT = 0.1, 0.26
_SLICE = 0.5
"""Width of the picture of one column over time, as a share of the frame's width."""
_HIDDEN = 150
"""Grey level shown in place of what a filter hides."""

Steps = list[FrameArray]
"""The same frames as decoded, then after each filter."""


def filter_pictures(tables: Tables, recipe: Recipe, clips: Sequence[ClipView]) -> tuple[list[Picture], str]:
    """Return a before-and-after picture of each filter, and a sentence about what is not shown."""
    kinds = [entry.kind for entry in recipe.frames.filters]
    chain = filters.build_all(recipe.frames.filters, recipe.frames.size)
    hiding = [i for i, one in enumerate(chain) if getattr(one, "hides", False)]
    shown, sentences = [], []
    for clip in clips[:MOST_CLIPS]:
        try:
            shown.append((clip, _steps(tables, recipe, clip)))
        except PatchlakeError as error:
            sentences.append(f"{clip.name} can't be decoded again: {error}")
    first = hiding[-1] if hiding else 0
    if first:
        left_out = ", ".join(kinds[:first])
        sentences.append(f"Not shown: {left_out}, before {kinds[first]}, which hides things; name it first.")
    pairs = [(i, [(clip, steps[i], steps[i + 1]) for clip, steps in shown]) for i in range(first, len(chain))]
    pictures = [_picture(kinds[i], pair, is_hidden=i in hiding) for i, pair in pairs if pair]
    return pictures, " ".join(sentences)


def _steps(tables: Tables, recipe: Recipe, clip: ClipView) -> Steps:
    """Decode up to 24 frames in the middle of a clip, plus the filters' context; return the frames after each step."""
    placement, source = _placement(tables, clip), _source(tables, recipe, clip)
    first, stop = clip.row_start - placement.row_start, clip.row_stop - placement.row_start
    first = max(first, (first + stop - ROWS) // 2)
    stop = min(stop, first + ROWS)
    tracks = {row["track"]: row for row in tables.tracks.rows()}
    read_range = read_range_of(placement.span, boxes_of(tables, tracks[clip.track]), first, stop)
    chain = filters.build_all(recipe.frames.filters, recipe.frames.size)
    before, after = filters.context_of(chain)
    start, end = max(read_range.start, first - before), min(read_range.stop, stop + after)
    grid = recipe.frames.grid
    ticker, clock = Ticker(read_range, source, grid.fps, start=start), frames.clock_of(read_range, source, grid.fps)
    request = frames.request_of(read_range, source, grid, start=start, stop=end)
    decoder = Decoder(recipe.limits.of_child)
    try:
        blocks = [(f.copy(), ticks) for f, ticks in frames.decoded(decoder, request, ticker)]
    finally:
        decoder.close()
    steps = [blocks]
    for one in chain:
        steps.append(list(Filtering([one], grid)(iter(steps[-1]), read_range, source, clock=clock, ticker=ticker)))
    low, high = clock.at(first), clock.at(stop)
    empty = np.empty((0, *grid.size, 3), dtype=np.uint8)
    found = [np.concatenate([empty, *(f[(low <= t) & (t < high)] for f, t in step)]) for step in steps]
    if not len(found[0]):
        raise PatchlakeError("no frame could be decoded")
    return found


def _placement(tables: Tables, clip: ClipView) -> Placement:
    table = tables.spans.read()
    mine = map(schema.placement_of, table.filter(pc.equal(table["track"], clip.track)).to_pylist())
    return next(p for p in mine if p.row_start <= clip.row_start < p.row_stop)


def _source(tables: Tables, recipe: Recipe, clip: ClipView) -> FrameSource:
    """Return the video of a clip, with the boxes that `blur` hides in it."""
    video_id = next(row["video_id"] for row in tables.tracks.rows() if row["track"] == clip.track)
    video = next(schema.video_of(row) for row in tables.videos.rows() if row["video_id"] == video_id)
    known = sorted(tables.sources.rows(), key=lambda row: row["uri"])
    held = [schema.source_of(row) for row in known if row["video_id"] == video_id]
    hidden = read_given(recipe, [schema.source_of(row) for row in known]).hidden
    return frame_source(held, video, hidden)


def _picture(kind: str, pairs: Sequence[tuple[ClipView, FrameArray, FrameArray]], *, is_hidden: bool) -> Picture:
    """Draw one row per clip: the middle frame before and after, and beside each its middle column over time."""
    height, width = pairs[0][1].shape[1:3]
    panel = (canvas.WIDTH - 3 * _GAP) / (2 + 2 * _SLICE)
    tall = panel * height / width
    figure = canvas.blank(canvas.WIDTH, len(pairs) * (tall + _TEXT))
    for row, (clip, before, after) in enumerate(pairs):
        bottom = (len(pairs) - 1 - row) * (tall + _TEXT) + _TEXT
        if is_hidden:
            before = np.where((before != after).any(axis=-1, keepdims=True), np.uint8(_HIDDEN), before)
        left = 0.0
        for what, some in (("before", before), ("after", after)):
            ax = canvas.axes(figure, left, bottom, panel, tall)
            show(ax, some[len(some) // 2])
            ax.text(0, -0.03, f"{what}: {canvas.short(clip.name)}", transform=ax.transAxes, va="top")
            left += panel + _GAP
            ax = canvas.axes(figure, left, bottom, panel * _SLICE, tall)
            ax.imshow(some[:, :, width // 2].swapaxes(0, 1), aspect="auto", interpolation="nearest")
            ax.set_axis_off()
            ax.text(0, -0.03, f"over {len(some)} frames", transform=ax.transAxes, va="top")
            left += panel * _SLICE + _GAP
    caption = f"{kind}: a frame before and after; beside it its middle column over time, left to right."
    if is_hidden:
        caption += " What it covers is grey in the frame before: nothing hidden is kept here."
    return canvas.picture(figure, caption, title=kind)
