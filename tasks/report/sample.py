"""What the pictures show: a few clips, frames and feature rows, chosen by a fixed seed; never a whole array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr

from patchlake.tasks.lake.arrays import product_attrs
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS, FloatArray, FrameArray, IntArray

SEED = 0
POOL_CLIPS = 8192
"""Maximum number of clips to choose from."""
CLIP_ROWS = 4096
"""Maximum rows read of a clip; of longer clips only the start is used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipView:
    """A clip, as pictures show it."""

    label: str | None
    name: str
    """Last part of its video's uri."""
    track: int
    start_seconds: float
    stop_seconds: float
    row_start: int
    row_stop: int


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature's arrays, open for reading rows."""

    name: str
    kind: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    """One per channel."""
    y: FloatArray
    x: FloatArray
    time_size: int
    time_stride: int
    stored: ProductRows

    @property
    def values(self) -> zarr.Array[Any]:
        """The stored (time, y, x, channel) array."""
        return self.stored.values

    def rows_of(self, clip: ClipView) -> tuple[IntArray, FloatArray]:
        """Return the rows whose centre time lies in the clip, and those times."""
        first, stop = self.stored.of_pixel_rows(clip.row_start, clip.row_stop)
        rows = self.stored.index(first, min(stop, first + CLIP_ROWS))
        rows = rows.select(rows.within(clip.track, clip.start_seconds, clip.stop_seconds))
        return rows.row, rows.seconds

    def frame_row(self, row: int) -> int:
        """Return the pixel row at the centre of a row (of two, the later one)."""
        return row * self.time_stride + self.time_size // 2


def pick_clips(tables: Tables, count: int, *, min_rows: int = 1) -> list[ClipView]:
    """Return up to `count` clips with as many labels, then tracks, as possible; equal lakes give equal clips.

    Clips of at least `min_rows` rows are preferred.
    """
    columns = ["label", "video_id", "track", "start_seconds", "stop_seconds", "row_start", "row_stop"]
    table = tables.clips.read(columns)
    table = table.filter(pc.greater(table["row_stop"], table["row_start"]))
    order = [("track", "ascending"), ("start_seconds", "ascending"), ("stop_seconds", "ascending")]
    table = table.sort_by(order)
    drawn = np.random.default_rng(SEED).permutation(table.num_rows)[:POOL_CLIPS]
    rows: list[dict[str, Any]] = table.take(pa.array(drawn, pa.int64())).to_pylist()
    rows.sort(key=lambda row: row["row_stop"] - row["row_start"] < min_rows)
    taken: list[dict[str, Any]] = []
    while len(taken) < count and rows:
        picked = _round(rows, count - len(taken), {row["track"] for row in taken})
        taken += picked
        ids = {id(row) for row in picked}
        rows = [row for row in rows if id(row) not in ids]
    taken.sort(key=lambda row: (row["label"] is None, row["label"] or "", row["track"], row["start_seconds"]))
    names = names_of(tables, {row.pop("video_id") for row in taken})
    return [ClipView(**row, name=names.get(row["track"], "")) for row in taken]


def _round(rows: list[dict[str, Any]], count: int, tracks: set[int]) -> list[dict[str, Any]]:
    """Return one clip per label, if possible of tracks not chosen yet."""
    found: dict[str | None, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["track"] in tracks):
        if len(found) == count:
            break
        found.setdefault(row["label"], row)
    return list(found.values())


def names_of(tables: Tables, video_ids: set[str]) -> dict[int, str]:
    """Return track number -> file name, for the tracks of a few videos."""
    wanted = pa.array(sorted(video_ids), pa.string())
    tracks, sources = tables.tracks.read(["track", "video_id"]), tables.sources.read(["uri", "video_id"])
    tracks, sources = (t.filter(pc.is_in(t["video_id"], wanted)) for t in (tracks, sources))
    sources = sources.sort_by([("uri", "descending")])  # of duplicates, the first one's name is used
    uris = {row["video_id"]: row["uri"] for row in sources.to_pylist()}
    return {row["track"]: uris.get(row["video_id"], "").rpartition("/")[2] for row in tracks.to_pylist()}


def open_feature(lake: Location, name: str) -> Feature | None:
    """Return a feature of the lake, or None if it has no array."""
    if (attrs := product_attrs(lake, name)) is None:
        return None
    stored = ProductRows(lake, name)
    y, x, channels = stored.cells
    units = attrs.get("units", "1")
    return Feature(
        name=name,
        kind=str(attrs.get("kind", "")),
        channels=channels,
        units=tuple(units) if isinstance(units, list) else (str(units),) * len(channels),
        y=y,
        x=x,
        time_size=int(attrs["time_size"]),
        time_stride=int(attrs["time_stride"]),
        stored=stored,
    )


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The stored frames, open for reading rows."""

    stored: ProductRows

    def at(self, rows: Sequence[int]) -> FrameArray:
        """Return (n, height, width, 3) frames."""
        return np.stack([np.asarray(self.stored.values[row]) for row in rows])

    def seconds_at(self, rows: Sequence[int]) -> FloatArray:
        """Return their times."""
        first = min(rows)
        return self.stored.index(first, max(rows) + 1).seconds[np.asarray(rows, np.intp) - first]


def open_frames(lake: Location) -> Frames | None:
    """Return the lake's frames, or None if it keeps none."""
    stored = ProductRows(lake, PIXELS)
    return Frames(stored=stored) if stored.is_stored else None
