"""Manifests: a user's list of sources, and what is said of each; rows that name one uri are one source.

Columns: uri; label, split (train | test), group; start, stop (seconds from the first displayed frame, or H:MM:SS.fff);
box (x y width height in upright source pixels); numbers to learn in `target`, in any `target_NAME`, or as a JSON
object in `targets`. Other columns are left alone.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from patchlake.tasks.corpus import table_files
from patchlake.tasks.corpus.table_files import Row
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.storage.uris import is_s3, object_uri, split_s3, uri_of
from patchlake.tasks.types import Annotation

COLUMNS = ("label", "split", "group", "start", "stop", "box", "target", "target_NAME", "targets")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What a manifest says of one source."""

    uri: str
    label: str | None
    split: str | None
    group: str | None
    annotations: tuple[Annotation, ...]
    """As in `Source`."""


def read_manifest(place: str) -> tuple[Entry, ...]:
    """Return the entries of a manifest, a file or an s3:// object, in the order of their first rows.

    Paths are relative to the manifest's folder or prefix. Raises RecipeError for whatever is wrong anywhere in it.
    """
    rows = table_files.rows(place, says="corpus.videos")
    if rows and "uri" not in rows[0].cells:
        given = ", ".join(map(str, rows[0].cells))
        expected = f"expected uri and any of {', '.join(COLUMNS)}"
        raise RecipeError(f"corpus.videos: {place} has the columns {given}, {expected}")
    by_uri: dict[str, list[Row]] = {}
    for row in rows:
        by_uri.setdefault(_uri(row, place), []).append(row)
    return tuple(_entry(uri, same) for uri, same in by_uri.items())


def _uri(row: Row, place: str) -> str:
    uri = row.cells.get("uri")
    if not uri or not isinstance(uri, str) or "\0" in uri:
        raise row.error("uri", "a path or an s3:// URL")
    try:
        if is_s3(uri):
            bucket, key = split_s3(uri)
        elif "://" in uri:
            raise row.error("uri", "a path or an s3:// URL")
        elif is_s3(place) and not uri.startswith("/"):
            bucket, manifest = split_s3(place)
            key = posixpath.normpath(posixpath.join("/", posixpath.dirname(manifest), uri))[1:]
        else:
            return uri_of(os.path.abspath(os.path.join(os.path.dirname(place), uri)))
        if not bucket or not key:
            raise row.error("uri", "s3://BUCKET/KEY")
        return object_uri(bucket, key)
    except UnicodeEncodeError as error:
        raise row.error("uri", "text that can be encoded") from error


def _entry(uri: str, rows: Sequence[Row]) -> Entry:
    for row in rows:
        if row.text("split") not in (None, "train", "test"):
            raise row.error("split", "train or test")
    said = [_annotation(row) for row in rows]
    is_plain = all(a == Annotation(label=a.label) for a in said)
    return Entry(
        uri=uri,
        label=said[0].label,
        split=_agreed(rows, "split"),
        group=_agreed(rows, "group"),
        annotations=() if is_plain else tuple(said),
    )


def _agreed(rows: Sequence[Row], column: str) -> str | None:
    """Return what those rows say that say anything."""
    saying = [row for row in rows if row.has(column)]
    for row in saying[1:]:
        if row.text(column) != saying[0].text(column):
            before = f"{saying[0].text(column)!r} as in row {saying[0].number}, which names the same uri"
            raise row.error(column, before)
    return saying[0].text(column) if saying else None


def _annotation(row: Row) -> Annotation:
    start, stop = row.range_seconds("start", "stop")
    return Annotation(
        start_seconds=start, stop_seconds=stop, box=row.box("box"), label=row.text("label"), targets=_targets(row)
    )


def _targets(row: Row) -> tuple[tuple[str, float], ...]:
    """Return the numbers to learn by name, in the order of their columns."""
    found: dict[str, float] = {}
    for column in row.cells:
        if column == "targets":
            named = _object(row)
        elif column == "target" or column.startswith("target_"):
            number = row.number_of(column)
            named = {} if number is None else {column.removeprefix("target_"): number}
        else:
            continue
        if twice := found.keys() & named.keys():
            raise row.error(column, f"one value of {min(twice)}, of which another column holds one too")
        found |= named
    return tuple(found.items())


def _object(row: Row) -> dict[str, float]:
    """Return the numbers of a cell that holds a JSON object."""
    if not row.has("targets"):
        return {}
    value: Any = row.cells["targets"]
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise row.error("targets", "a JSON object of finite numbers") from error
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)  # a Parquet map
    if not isinstance(value, dict):
        raise row.error("targets", "a JSON object of finite numbers")
    numbers = {name: table_files.as_number(number) for name, number in value.items() if number is not None}
    if None in numbers.values():
        raise row.error("targets", "a JSON object of finite numbers")
    return {name: number for name, number in numbers.items() if number is not None}
