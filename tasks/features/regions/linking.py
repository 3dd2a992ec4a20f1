"""Links regions of neighbouring windows over time; boxes that follow them. Pure functions on rows of `regions`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from patchlake.tasks.types import Box, BoxPath

Row = Mapping[str, Any]


def linked(rows: Sequence[Row], *, window: int, overlap: float) -> list[dict[str, Any]]:
    """Return rows of one product with `region_track`: the region_id of the first region of the same track.

    Each region follows at most one region of the window before, and is followed by at most one, such that the sum of
    overlaps (intersection over union across the windows' border) is largest; overlaps below `overlap` link nothing. A
    region that splits continues as its larger part; the rest starts new tracks.

    Source: scipy.optimize.linear_sum_assignment.
    """
    ordered = sorted(rows, key=lambda row: (row["row_start"] // window, row["span_key"], row["label"]))
    windows: dict[tuple[str, int], list[Row]] = {}
    for row in ordered:
        windows.setdefault((row["span_key"], row["row_start"] // window), []).append(row)
    track_of: dict[str, str] = {}
    for (span, number), here in windows.items():
        before = windows.get((span, number - 1), [])
        for i, j in _pairs(before, here, overlap):
            track_of[here[j]["region_id"]] = track_of[before[i]["region_id"]]
        for row in here:
            track_of.setdefault(row["region_id"], row["region_id"])
    return [{**row, "region_track": track_of[row["region_id"]]} for row in ordered]


def _pairs(before: Sequence[Row], here: Sequence[Row], overlap: float) -> list[tuple[int, int]]:
    """Return pairs: index of a region in the window before, index of the region here that continues it."""
    from scipy.optimize import linear_sum_assignment  # half a second to import; most runs don't need it

    if not before:
        return []
    at = {row["label"]: i for i, row in enumerate(before)}
    shares = np.zeros((len(before), len(here)))
    for j, row in enumerate(here):
        for label, share in row["overlaps"]:
            if share >= overlap and label in at:
                shares[at[label], j] = share
    pairs = zip(*linear_sum_assignment(shares, maximize=True), strict=True)
    return [(int(i), int(j)) for i, j in pairs if shares[i, j] > 0]


class Choice(Protocol):
    """Which tracks of regions become tracks of the lake."""

    min_seconds: float
    min_travel: float
    most: int
    margin: float


class FrameSize(Protocol):
    """Size of a video."""

    @property
    def width(self) -> int:
        """Upright source pixels."""

    @property
    def height(self) -> int:
        """Upright source pixels."""


def paths_of(rows: Sequence[Row], video: FrameSize, choice: Choice) -> list[BoxPath]:
    """Return the boxes that follow linked regions of one video, by time, then name.

    Regions outside the frame, e.g. in a letterbox's black bars, give no track. A track's box has a constant size: the
    largest size of its regions at the windows' borders, plus a margin. It moves with the centre of the regions' boxes,
    on straight lines from border to border, and stays inside the frame.
    """
    tracks: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["start_seconds"]):
        tracks.setdefault(row["region_track"], []).append(_shown(row, video))
    tracks = {name: regions for name, regions in tracks.items() if all(map(_is_in_frame, regions))}
    least = choice.min_travel * math.hypot(video.width, video.height)
    lasting = {
        name: regions
        for name, regions in tracks.items()
        if regions[-1]["stop_seconds"] - regions[0]["start_seconds"] >= choice.min_seconds and _travel(regions) >= least
    }
    ranked = sorted(lasting.items(), key=lambda item: (-_volume(item[1]), item[0]))[: choice.most]
    ranked.sort(key=lambda item: (item[1][0]["start_seconds"], item[0]))
    return [_path(name, regions, video, choice.margin) for name, regions in ranked]


def _shown(row: Row, video: FrameSize) -> Row:
    """Return a row with its boxes clipped to the frame: a letterbox also shows black bars outside it."""
    return {**row, **{name: _clipped(row[name], video) for name in ("first_box", "last_box")}}


def _clipped(box: Sequence[float], video: FrameSize) -> list[float]:
    left, top = max(0.0, box[0]), max(0.0, box[1])
    return [left, top, min(video.width, box[0] + box[2]) - left, min(video.height, box[1] + box[3]) - top]


def _is_in_frame(row: Row) -> bool:
    return all(side >= 1 for name in ("first_box", "last_box") for side in row[name][2:])


def _volume(regions: Sequence[Row]) -> float:
    """Return area times seconds."""
    return float(sum(row["area"] * (row["stop_seconds"] - row["start_seconds"]) for row in regions))


def _travel(regions: Sequence[Row]) -> float:
    """Return the largest distance of the regions' box centre from its start, in source pixels."""
    centres = [
        (box[0] + box[2] / 2, box[1] + box[3] / 2) for row in regions for box in (row["first_box"], row["last_box"])
    ]
    return max(math.dist(centres[0], centre) for centre in centres)


def _path(name: str, regions: Sequence[Row], video: FrameSize, margin: float) -> BoxPath:
    knots: dict[float, list[float]] = {}
    for row in regions:
        knots[row["start_seconds"]] = row["first_box"]
        knots[row["last_seconds"]] = row["last_box"]
    width, height = (
        min(extent, max(box[side] for box in knots.values()) * (1 + 2 * margin))
        for side, extent in ((2, video.width), (3, video.height))
    )
    boxes = [_around(box, width, height, video) for box in knots.values()]
    return BoxPath(name=f"region {name[:8]}", seconds=tuple(knots), boxes=tuple(boxes))


def _around(box: Sequence[float], width: float, height: float, video: FrameSize) -> Box:
    """Return the box of the given size with the same centre, moved into the frame."""
    x = box[0] + box[2] / 2 - width / 2
    y = box[1] + box[3] / 2 - height / 2
    return min(max(0.0, x), video.width - width), min(max(0.0, y), video.height - height), width, height
