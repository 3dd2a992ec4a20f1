"""Manifests: a user's list of sources, and what is said of each; rows that name one uri are one source.

Columns: uri; label, split (train | validate | test), group; start, stop (seconds from the first displayed frame, or
H:MM:SS.fff, or frame numbers); box (x y width height in upright source pixels); numbers to learn in `target`, in any
`target_NAME`, or as a JSON object in `targets`. Other usual spellings are understood (`columns.py`); what else there is
are attributes of the source.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from patchlake.tasks.corpus import columns, table_files
from patchlake.tasks.corpus.table_files import Row
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.storage.uris import is_s3, object_uri, split_s3, uri_of
from patchlake.tasks.types import Annotation

COLUMNS = ("label", "split", "group", "start", "stop", "box", "target", "target_NAME", "targets")
MEANINGS: columns.Meanings = {
    **columns.LABEL, "split": ("split",), "group": ("group",), **columns.TIMES,
    "box": ("box", "bbox"), "targets": ("targets",),
}  # fmt: skip
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "validate": "validate", "validation": "validate", "valid": "validate", "val": "validate", "dev": "validate",
}  # fmt: skip
"""As written -> as stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What a manifest says about one source."""

    uri: str
    label: str | None
    split: str | None
    group: str | None
    annotations: tuple[Annotation, ...]
    """See `Source`."""


def read_manifest(place: str, *, needs_label: bool = False) -> tuple[Entry, ...]:
    """Return the entries of a manifest, a file or an s3:// object, in the order of their first rows.

    Paths are relative to the manifest's folder or prefix. Raises RecipeError for whatever is wrong anywhere in it; with
    `needs_label` also where it has no column for labels.
    """
    rows = table_files.rows(place, says="corpus.videos")
    if not rows:
        return ()
    file = f"corpus.videos: {place}"
    header = _header(list(rows[0].cells), file)
    if needs_label and header.label is None:
        raise RecipeError(
            f"{file} has the columns {', '.join(rows[0].cells)}, expected label too, as `labels: column` says; "
            "add the column, or set corpus.labels to folder or none"
        )
    by_uri: dict[str, list[Row]] = {}
    for row in rows:
        by_uri.setdefault(_uri(row, header.uri, place), []).append(row)
    return tuple(_entry(uri, same, header) for uri, same in by_uri.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    """Which column of a manifest means what."""

    uri: str
    means: Mapping[str, str]
    targets: tuple[str, ...]
    others: tuple[str, ...]
    """Attributes."""

    @property
    def label(self) -> str | None:
        return self.means.get("label")


def _header(headers: Sequence[str], file: str) -> _Header:
    if not any(columns.plain(h) in columns.NAME for h in headers):
        expected = f"expected uri and any of {', '.join(COLUMNS)}"
        raise RecipeError(f"{file} has the columns {', '.join(headers)}, {expected}")
    uri = columns.name_column(headers, file=file)
    others = [header for header in headers if header != uri]
    means = columns.understood(others, MEANINGS, file=file)
    left = [header for header in others if header not in means.values()]
    targets = tuple(h for h in left if columns.plain(h) == "target" or columns.plain(h).startswith("target_"))
    for header in left:
        known = [name for name in MEANINGS if name not in means]
        if header not in targets and (near := columns.hint(header, known)):
            raise RecipeError(
                f"{file} has the column {header!r}, which is not known; did you mean {near}? Rename it, also if it "
                "is something else: such a name would be read past"
            )
    return _Header(uri=uri, means=means, targets=targets, others=tuple(h for h in left if h not in targets))


def _uri(row: Row, column: str, place: str) -> str:
    uri = row.cells.get(column)
    if not uri or not isinstance(uri, str) or "\0" in uri:
        raise row.error(column, "a path or an s3:// URL")
    try:
        if is_s3(uri):
            bucket, key = split_s3(uri)
        elif "://" in uri:
            raise row.error(column, "a path or an s3:// URL")
        elif is_s3(place) and not uri.startswith("/"):
            bucket, manifest = split_s3(place)
            key = posixpath.normpath(posixpath.join("/", posixpath.dirname(manifest), uri))[1:]
        else:
            return uri_of(os.path.abspath(os.path.join(os.path.dirname(place), uri)))
        if not bucket or not key:
            raise row.error(column, "s3://BUCKET/KEY")
        return object_uri(bucket, key)
    except UnicodeEncodeError as error:
        raise row.error(column, "text that can be encoded") from error


def _entry(uri: str, rows: Sequence[Row], header: _Header) -> Entry:
    said = [_annotation(row, header) for row in rows]
    is_plain = all(a == Annotation(label=a.label, attributes=a.attributes) for a in said)
    split = _agreed(rows, header.means.get("split"))
    return Entry(
        uri=uri,
        label=said[0].label,
        split=None if split is None else _split(split, rows, header.means["split"]),
        group=_agreed(rows, header.means.get("group")),
        annotations=() if is_plain else tuple(said),
    )


def _split(text: str, rows: Sequence[Row], column: str) -> str:
    known = SPLITS.get(text.strip().lower())
    if known is None:
        row = next(row for row in rows if row.has(column))
        raise row.error(column, "train, validate or test")
    return known


def _agreed(rows: Sequence[Row], column: str | None) -> str | None:
    """Return the one value that the rows give for a column, None if no row gives one; RecipeError if they differ."""
    if column is None:
        return None
    saying = [row for row in rows if row.has(column)]
    for row in saying[1:]:
        if row.text(column) != saying[0].text(column):
            before = f"{saying[0].text(column)!r} as in row {saying[0].number}, which names the same uri"
            raise row.error(column, before)
    return saying[0].text(column) if saying else None


def _annotation(row: Row, header: _Header) -> Annotation:
    means = header.means
    return replace(
        columns.range_of(row, means),
        box=row.box(means["box"]) if "box" in means else None,
        label=row.text(means["label"]) if "label" in means else None,
        targets=_targets(row, header),
        attributes=row.texts(header.others),
    )


def _targets(row: Row, header: _Header) -> tuple[tuple[str, float], ...]:
    """Return the regression targets by name, in the order of their columns."""
    found: dict[str, float] = {}
    for column in row.cells:
        if column == header.means.get("targets"):
            named = _object(row, column)
        elif column in header.targets:
            number = row.number_of(column)
            named = {} if number is None else {columns.target_name(column): number}
        else:
            continue
        if twice := found.keys() & named.keys():
            raise row.error(column, f"one value of {min(twice)}, but another column has one too")
        found |= named
    return tuple(found.items())


def _object(row: Row, column: str) -> dict[str, float]:
    """Return the numbers of a cell that holds a JSON object."""
    if not row.has(column):
        return {}
    value: Any = row.cells[column]
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise row.error(column, "a JSON object of finite numbers") from error
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)  # a Parquet map
    if not isinstance(value, dict):
        raise row.error(column, "a JSON object of finite numbers")
    numbers = {name: table_files.as_number(number) for name, number in value.items() if number is not None}
    if None in numbers.values():
        raise row.error(column, "a JSON object of finite numbers")
    return {name: number for name, number in numbers.items() if number is not None}
