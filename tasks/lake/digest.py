"""`digest`: are two lakes equal; `verify`: is a lake what was committed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.layout import ARRAYS
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.zarr_config import PLAIN
from patchlake.tasks.storage.location import Location

STATED: dict[str, tuple[str, ...]] = {
    "sources": ("size", "video_id", "label", "split", "group", "status", "reason"),
    "videos": (
        "video_id",
        "codec",
        "width",
        "height",
        "num_frames",
        "first_pts_seconds",
        "duration_seconds",
        "rotation",
    ),
    "tracks": ("track", "track_id", "video_id", "to_source"),
    "clips": (
        "clip_id",
        "track",
        "track_id",
        "video_id",
        "start_seconds",
        "stop_seconds",
        "label",
        "targets",
        "row_start",
        "row_stop",
    ),
    "track_boxes": ("track", "seconds", "x", "y", "width", "height"),
    "regions": (
        "region_id",
        "region_track",
        "track",
        "label",
        "row_start",
        "row_stop",
        "start_seconds",
        "stop_seconds",
        "area",
        "box",
        "first_box",
        "last_box",
        "mean_rgb",
        "mean_feature",
    ),
    "failures": ("span_key", "row_start", "num_rows", "num_rows_planned", "reason"),
}
"""Table columns that two equal lakes share; paths, times of day, units and run ids are not among them."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Hashes of a lake's parts, and of all."""

    clips: str
    """Values and coordinates of every product of every clip."""
    tables: str
    """The columns in STATED, rows sorted."""
    shards: str
    """Every shard object, byte by byte."""

    @property
    def total(self) -> str:
        """Equal where everything is."""
        return hashlib.sha256(f"{self.clips} {self.tables} {self.shards}".encode()).hexdigest()


def digest(lake: Location) -> Digest:
    """Return the digest of a lake; reads every committed value once."""
    return Digest(clips=_clips(lake), tables=_tables(lake), shards=_shards(lake))


def products(lake: Location) -> list[str]:
    """Return the names of the products that have an array."""
    names = {name.split("/")[0] for name, _ in (lake / ARRAYS).list() if name.endswith("zarr.json") and "/" in name}
    return sorted(name for name in names if arrays.product_digest(lake, name) is not None)


def _clips(lake: Location) -> str:
    clips = sorted(Tables(lake).clips.rows(), key=lambda row: row["clip_id"])
    total = hashlib.sha256()
    for product in products(lake):
        view = _Product(lake, product)
        with ThreadPoolExecutor(4) as pool:
            for part in pool.map(view.clip, clips):
                total.update(part)
    return total.hexdigest()


class _Product:
    def __init__(self, lake: Location, name: str) -> None:
        self.name = name
        self.stored = ProductRows(lake, name, PLAIN)
        self.values = self.stored.values
        self.index = self.stored.index()

    def clip(self, row: dict[str, Any]) -> bytes:
        first, stop = self.stored.of_pixel_rows(row["row_start"], row["row_stop"])
        mine = self.index.select(slice(first, stop))
        inside, times = mine.within(row["track"], row["start_seconds"], row["stop_seconds"]), mine.seconds
        part = hashlib.sha256(f"{row['clip_id']} {self.name}".encode())
        part.update(np.ascontiguousarray(times[inside]).data)
        if inside.any():
            part.update(np.ascontiguousarray(np.asarray(self.values[first:stop])[inside]).data)
        return part.digest()


def _tables(lake: Location) -> str:
    tables = Tables(lake)
    total = hashlib.sha256()
    for name, columns in STATED.items():
        rows = tables[name].rows(columns)
        if name == "failures":  # faults that cost no frame are noted where a unit ends, which depends on the workers
            rows = [row for row in rows if row["num_rows"] < row["num_rows_planned"]]
        for line in sorted(repr([row[c] for c in columns]) for row in rows):
            total.update(f"{name} {line}\n".encode())
    return total.hexdigest()


def _shards(lake: Location) -> str:
    root = lake / ARRAYS
    total = hashlib.sha256()
    names = sorted(n for n, _ in root.list() if "/frames/c/" in f"/{n}" or "/features/c/" in f"/{n}")
    with ThreadPoolExecutor(4) as pool:
        for name, data in zip(names, pool.map(root.get, names), strict=True):
            total.update(f"{name} {hashlib.sha256(data or b'').hexdigest()}\n".encode())
    return total.hexdigest()


def verify(lake: Location) -> Iterator[str]:
    """Yield a sentence for every piece of committed rows whose bytes, or whose coordinates, are not as committed."""
    receipts = Tables(lake).receipts.rows()
    spans = {row["span_key"]: row["track"] for row in Tables(lake).spans.rows(["span_key", "track"])}
    for product in products(lake):
        view = _Product(lake, product)
        digest_now = arrays.product_digest(lake, product)
        for receipt in receipts:
            if receipt["product"] != product or receipt["product_digest"] != digest_now:
                continue
            pieces = zip(
                receipt["span_keys"],
                receipt["row_starts"],
                receipt["num_rows"],
                receipt["checksums"],
                strict=True,
            )
            for span_key, first, num_rows, checksum in pieces:
                where = f"{product} rows [{first}, {first + num_rows}) of unit {receipt['unit_id']}"
                if num_rows == 0:
                    continue
                try:
                    values = np.ascontiguousarray(np.asarray(view.values[first : first + num_rows]))
                except Exception as error:  # whatever a damaged shard makes the codecs raise
                    yield f"{where}: can't be read: {error}"
                    continue
                if len(values) != num_rows:
                    yield f"{where}: the array ends at {view.values.shape[0]}"
                elif xxhash.xxh3_64_hexdigest(values.data) != checksum:
                    yield f"{where}: the values are not those that were committed"
                elif (view.index.track[first : first + num_rows] != spans[span_key]).any():
                    yield f"{where}: the track coordinate is not {spans[span_key]}"
                elif np.isnan(view.index.seconds[first : first + num_rows]).any():
                    yield f"{where}: the seconds coordinate has gaps"
