"""Pictures of regions over their frames: linked regions have one colour; boxes of the tracks that follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from patchlake.tasks import canvas, tracks
from patchlake.tasks.canvas import Picture
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.lake import schema
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.report.sample import SEED, Feature, Frames, names_of
from patchlake.tasks.report.strips import bare
from patchlake.tasks.types import Box, BoxPath

STRIPS, FRAMES = 4, 5
"""Number of tracks shown, and of frames of each."""
_COLOURED = 10
"""Number of linked regions of a strip with a colour of their own: those with the largest area times seconds."""
_OTHERS = "#9aa5b1"
_GAP, _TEXT = 0.08, 0.26
_FILL = 0.5
Row = dict[str, Any]


def region_strips(
    feature: Feature, entry: RegionsSpec, tables: Tables, frames: Frames | None, size: tuple[int, int]
) -> list[Picture]:
    """Return a strip of frames with their regions for each of up to four tracks; equal lakes, equal strips."""
    table = tables.regions.read()
    table = table.filter(pc.equal(table["product"], entry.name))
    numbers = np.unique(table["track"].to_numpy())
    picked = np.sort(np.random.default_rng(SEED).permutation(numbers)[:STRIPS])
    found = [(n, table.filter(pc.equal(table["track"], n)).to_pylist()) for n in picked.tolist()]
    names = names_of(tables, {row["video_id"] for _, mine in found for row in mine})
    return [
        _strip(feature, entry, mine, _followed(tables, number), frames, size, names.get(number, ""))
        for number, mine in found
    ]


def _strip(
    feature: Feature,
    entry: RegionsSpec,
    regions: Sequence[Row],
    followed: dict[str, BoxPath],
    frames: Frames | None,
    size: tuple[int, int],
    name: str,
) -> Picture:
    """Return one track's strip; `followed` are the boxes of tracks that follow regions, in frame-grid pixels."""
    ranks, (height, width) = _ranks(regions), size
    shown = _rows(regions, entry.window)
    panel = (canvas.WIDTH - _GAP * (FRAMES - 1)) / FRAMES
    figure = canvas.blank(canvas.WIDTH, panel * height / width + _TEXT)
    for i, row in enumerate(shown):
        ax = canvas.axes(figure, i * (panel + _GAP), _TEXT, panel, panel * height / width)
        here = {r["label"]: r for r in regions if r["row_start"] // entry.window == row // entry.window}
        picture = np.full((height, width, 3), 255, np.uint8) if frames is None else frames.at([row])[0]
        labels = np.asarray(feature.values[row])[..., 0]
        ax.imshow(_filled(picture, labels, here, ranks, entry.cell), extent=(0, width, height, 0))
        seconds = float(feature.stored.index(row, row + 1).seconds[0])
        _draw_boxes(ax, followed, seconds, ranks)
        bare(ax, height, width)
        ax.text(0.5, -0.05, f"{seconds:.2f} s", transform=ax.transAxes, ha="center", va="top")
    kept = f", boxes: {len(followed)} tracks that follow them" if followed else ""
    caption = (
        f"{name}: regions grown by {entry.join} over windows of {entry.window} frames, seconds below. A colour is one "
        f"region linked over time: the {_COLOURED} largest of {len(ranks)}; the others are grey{kept}."
    )
    return canvas.picture(figure, caption, title=f"{entry.name} of {canvas.short(name)}")


def _ranks(regions: Sequence[Row]) -> dict[str, int]:
    """Return region_track -> its rank by area times seconds, from 0 for the largest."""
    volume: dict[str, float] = {}
    for row in regions:
        seconds = row["stop_seconds"] - row["start_seconds"]
        volume[row["region_track"]] = volume.get(row["region_track"], 0.0) + row["area"] * seconds
    return {name: i for i, name in enumerate(sorted(volume, key=lambda name: (-volume[name], name)))}


def _rows(regions: Sequence[Row], window: int) -> list[int]:
    """Return rows to show: the middle rows of windows evenly spaced among those with regions."""
    windows = sorted({row["row_start"] // window for row in regions})
    picked = np.linspace(0, len(windows) - 1, min(FRAMES, len(windows))).round().astype(int)
    return [windows[i] * window + window // 2 for i in picked]


def _filled(
    picture: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint16],
    here: dict[int, Row],
    ranks: dict[str, int],
    cell: int,
) -> npt.NDArray[np.uint8]:
    """Return the frame in grey with each region in its colour, translucent inside, opaque at the outline."""
    out = picture.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.75 + 45
    pixels = labels.repeat(cell, axis=0).repeat(cell, axis=1)[: out.shape[0], : out.shape[1]]
    whole = np.zeros(out.shape[:2], dtype=pixels.dtype)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    padded = np.pad(whole, 1, mode="edge")
    inner = (padded[:-2, 1:-1] == whole) & (padded[2:, 1:-1] == whole)
    inner &= (padded[1:-1, :-2] == whole) & (padded[1:-1, 2:] == whole)
    for label, row in here.items():
        colour = 255 * np.array(colors.to_rgb(_colour(ranks[row["region_track"]])))
        fill, line = (whole == label) & inner, (whole == label) & ~inner
        out[fill] = out[fill] * (1 - _FILL) + colour * _FILL
        out[line] = colour
    return np.asarray(np.clip(out, 0, 255), dtype=np.uint8)


def _colour(rank: int) -> str:
    return canvas.COLOURS[rank] if rank < _COLOURED else _OTHERS


def _followed(tables: Tables, number: int) -> dict[str, BoxPath]:
    """Return first digits of region_track -> the boxes that follow it, in frame-grid pixels of the whole frame."""
    known = tables.tracks.rows()
    whole = next(track for track in known if track["track"] == number)
    if whole["to_source"] is None:
        return {}
    beside = [t for t in known if t["video_id"] == whole["video_id"] and (t["name"] or "").startswith("region ")]
    numbers = {track["track"] for track in beside}
    boxes = [box for box in tables.track_boxes.rows() if box["track"] in numbers]
    found: dict[str, BoxPath] = {}
    for track, path in zip(beside, schema.paths_of(beside, boxes).values(), strict=True):
        if path is not None and path.seconds:
            there = tuple(_to_grid(box, whole["to_source"]) for box in path.boxes)
            found[track["name"].removeprefix("region ")] = BoxPath(name=path.name, seconds=path.seconds, boxes=there)
    return found


def _to_grid(box: Box, to_source: Sequence[float]) -> Box:
    a, _, c, _, e, f = to_source
    x, y, width, height = box
    return (x - c) / a, (y - f) / e, width / a, height / e


def _draw_boxes(ax: Axes, followed: dict[str, BoxPath], seconds: float, ranks: dict[str, int]) -> None:
    by_name = {name[:8]: rank for name, rank in ranks.items()}
    for name, path in followed.items():
        if path.seconds[0] <= seconds <= path.seconds[-1]:
            x, y, width, height = tracks.box_at(path, seconds)
            for colour, line in (("white", 2.6), (_colour(by_name.get(name, _COLOURED)), 1.3)):
                ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=line))
