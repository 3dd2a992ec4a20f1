"""The tables `spans` (what is stored, and where) and `clips` (row ranges of spans)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa

from patchlake.tasks.lake.schema.columns import (
    INT,
    LONG,
    NUMBERS_BY_NAME,
    REAL,
    TEXT,
    Row,
    TableSchema,
    content,
    layout,
)
from patchlake.tasks.types import Clip, Placement, Span

SPANS = TableSchema(
    "spans",
    {
        "span_key": TEXT,
        "track": INT,
        "track_id": TEXT,
        "video_id": TEXT,
        "start_seconds": REAL,
        "stop_seconds": REAL,
        "num_rows": LONG,
        "first_grid_row": LONG,
        "row_start": LONG,
        "pts": pa.binary(),
        "key_pts": pa.binary(),
        "stop_pts": LONG,
    },
)
CLIPS = TableSchema(
    "clips",
    {
        "clip_id": content(TEXT),
        "track": layout(INT),
        "track_id": content(TEXT),
        "video_id": content(TEXT),
        "span_key": TEXT,
        "start_seconds": content(REAL),
        "stop_seconds": content(REAL),
        "label": content(TEXT),
        "targets": content(NUMBERS_BY_NAME),
        "row_start": layout(LONG),
        "row_stop": layout(LONG),
    },
)


def placement_row(placement: Placement) -> Row:
    """Return the row of `spans`."""
    return SPANS.row(placement.span, track=placement.track, row_start=placement.row_start)


def placement_of(row: Mapping[str, Any]) -> Placement:
    """Return the placed span of a row."""
    span = Span(**{field.name: row[field.name] for field in fields(Span)})
    return Placement(span=span, track=row["track"], row_start=row["row_start"])


def clip_row(clip: Clip, placement: Placement, row_start: int, row_stop: int) -> Row:
    """Return the row of `clips`: rows [row_start, row_stop) of `pixels`, in the clip's span."""
    return CLIPS.row(
        clip,
        track=placement.track,
        span_key=placement.span.span_key,
        targets=list(clip.targets),
        row_start=row_start,
        row_stop=row_stop,
    )
