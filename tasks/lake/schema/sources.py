"""The tables `sources` (one row per discovered uri) and `annotations` (what manifests say about parts of them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchlake.tasks.lake.schema.columns import LONG, NUMBERS_BY_NAME, REAL, REALS, TEXT, Row, TableSchema, content
from patchlake.tasks.types import Source

SOURCES = TableSchema(
    "sources",
    {
        "uri": TEXT,
        "size": content(LONG),
        "version": TEXT,
        "video_id": content(TEXT),
        "label": content(TEXT),
        "split": content(TEXT),
        "group": content(TEXT),
        "status": content(TEXT),
        "reason": content(TEXT),
        "message": TEXT,
    },
)
ANNOTATIONS = TableSchema(
    "annotations",
    {
        "uri": TEXT,
        "video_id": TEXT,
        "start_seconds": REAL,
        "stop_seconds": REAL,
        "box": REALS,
        "label": TEXT,
        "targets": NUMBERS_BY_NAME,
    },
)


def source_row(source: Source, video_id: str | None) -> Row:
    """Return the row of `sources`; `video_id` is None if the source has no readable video."""
    return SOURCES.row(source, video_id=video_id)


def source_of(row: Mapping[str, Any]) -> Source:
    """Return the source of a row, without its annotations."""
    return Source(**{name: value for name, value in row.items() if name != "video_id"})


def annotation_rows(source: Source, video_id: str | None) -> list[Row]:
    """Return the rows of `annotations` of a source."""
    return [
        ANNOTATIONS.row(
            part,
            uri=source.uri,
            video_id=video_id,
            box=None if part.box is None else list(part.box),
            targets=list(part.targets),
        )
        for part in source.annotations
    ]
