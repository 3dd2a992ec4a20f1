"""`digest`: hashes that are equal if two lakes hold the same data (`content`), in the same places (`layout`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from patchlake.tasks.lake import arrays, schema
from patchlake.tasks.lake.layout import ARRAYS, FEATURES, FRAMES
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.schema import Row
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.zarr_config import PLAIN
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS

VERSION = 2
"""Increased with every change of what a digest covers; digests of different versions can't be compared."""
_READ_BYTES = 32 << 20
_THREADS = 4


@dataclass(frozen=True, slots=True)
class Digest:
    """Two hashes of a lake (SHA-256, hexadecimal)."""

    version: int
    content: str
    """Values and all coordinates of each product of each clip, and the tables' columns other than row numbers.

    Equal for the same videos and recipe, whatever the history: more runs, an outage, a product dropped and re-added.
    """
    layout: str
    """Rows of clips, tracks, regions, failures, and every shard object: equal for equal histories, kills or not."""

    @property
    def total(self) -> str:
        """One hash that is equal if both are."""
        return hashlib.sha256(f"{self.version} {self.content} {self.layout}".encode()).hexdigest()


def digest(lake: Location) -> Digest:
    """Return the digest of a lake; reads every committed value."""
    tables = Tables(lake)
    return Digest(VERSION, content=_content(lake, tables), layout=_layout(lake, tables))


def clip_hashes(lake: Location, clips: Iterable[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Yield ((clip_id, product), hash of its values and coordinates) for rows of the table `clips`, by product."""
    clips = sorted(clips, key=lambda row: row["clip_id"])
    with ThreadPoolExecutor(_THREADS) as pool:
        for name in sorted({PIXELS, *arrays.product_names(lake)}):
            product = _Product(lake, name)
            for clip, found in zip(clips, pool.map(product.hash_of, clips), strict=True):
                yield (clip["clip_id"], name), found


class _Product:
    """A product with its index in memory. zarr-python reads it: independent of zarrs, which wrote the values."""

    def __init__(self, lake: Location, name: str) -> None:
        self._stored = ProductRows(lake, name, PLAIN)
        self._index = self._stored.index()
        pts = self._stored.pts_seconds
        self._pts = None if pts is None else np.asarray(pts[:])
        self._head = name
        self._is_stored = self._stored.is_stored
        if self._is_stored:  # else `pixels` of a lake that keeps no frames: only times
            self._head += f" {self._stored.values.dtype} {[list(cells) for cells in self._stored.cells]}"

    def hash_of(self, clip: Mapping[str, Any]) -> bytes:
        """Return the hash of the rows whose centre time lies in a clip."""
        rows = self._index.select(slice(*self._stored.of_pixel_rows(clip["row_start"], clip["row_stop"])))
        rows = rows.select(rows.within(clip["track"], clip["start_seconds"], clip["stop_seconds"]))
        found = hashlib.sha256(f"{clip['clip_id']} {self._head} {len(rows)} ".encode())
        found.update(np.ascontiguousarray(rows.seconds).data)
        if self._pts is not None:
            found.update(np.ascontiguousarray(self._pts[rows.row]).data)
        if self._is_stored:
            for part in self._stored.values_of(rows, num_bytes=_READ_BYTES):
                found.update(np.ascontiguousarray(part.values).data)
        return found.digest()


def _content(lake: Location, tables: Tables) -> str:
    clips = tables.clips.rows()
    total = hashlib.sha256()
    for line in _content_lines(tables, clips):
        total.update(f"{line}\n".encode())
    for _, found in clip_hashes(lake, clips):
        total.update(found)
    return total.hexdigest()


def _content_lines(tables: Tables, clips: list[Row]) -> Iterator[str]:
    """Yield a line for each row about the current corpus, with track ids in place of track numbers."""
    track_ids = {row["track"]: row["track_id"] for row in tables.tracks.rows(["track", "track_id"])}
    videos = {row["video_id"] for row in tables.sources.rows(["video_id"])}
    tracks = {row["track"] for row in clips}

    def is_present(name: str, row: Row) -> bool:
        """Whether a row belongs to the current corpus, not to a video or boxes that it no longer has."""
        if name == schema.VIDEOS.name:
            return row["video_id"] in videos
        return name not in (schema.TRACKS.name, schema.TRACK_BOXES.name) or row["track"] in tracks

    for table in schema.ALL:
        if columns := table.digested("content"):
            rows = (row for row in tables.open(table).rows() if is_present(table.name, row))
            spelt = ([track_ids.get(row.get("track")), *(row[c] for c in columns)] for row in rows)
            yield from _lines(table.name, spelt)


def _layout(lake: Location, tables: Tables) -> str:
    total = hashlib.sha256()
    for table in schema.ALL:
        if columns := table.digested("content", "layout"):
            rows = tables.open(table).rows(columns)
            if table is schema.FAILURES:  # rows without a lost frame lie at units' ends, which vary
                rows = [row for row in rows if row["num_rows"] < row["num_rows_planned"]]
            for line in _lines(table.name, ([row[c] for c in columns] for row in rows)):
                total.update(f"{line}\n".encode())
    for line in _shard_lines(lake):
        total.update(f"{line}\n".encode())
    return total.hexdigest()


def _lines(name: str, rows: Iterable[list[Any]]) -> Iterator[str]:
    return (f"{name} {line}" for line in sorted(map(repr, rows)))


def _shard_lines(lake: Location) -> Iterator[str]:
    root = lake / ARRAYS
    names = sorted(n for n, _ in root.list() if f"/{FRAMES}/c/" in n or f"/{FEATURES}/c/" in n)
    with ThreadPoolExecutor(_THREADS) as pool:
        for name, found in zip(names, pool.map(partial(_object_hash, root), names), strict=True):
            yield f"{name} {found}"


def _object_hash(root: Location, name: str) -> str:
    return hashlib.sha256(root.get(name) or b"").hexdigest()
