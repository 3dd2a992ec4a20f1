"""Files that say when something happens in videos: plain tables, BORIS' and ActivityNet's exports.

CSV, TSV, JSON (a list of mappings) or Parquet. Times count from the first displayed frame, in seconds or as a clock
(M:SS, HH:MM:SS.fff), or are frame numbers. docs/inputs.md lists the columns that are understood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from patchlake.tasks.corpus import boris, columns, table_files
from patchlake.tasks.corpus.table_files import Row
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.types import Annotation

Named = tuple[str, Annotation]
"""A video's name as written, and what happens there."""


@dataclass(frozen=True, kw_only=True)
class EventFile:
    """What a file of events says; `events` and `left_out` account for every row of it."""

    events: tuple[Named, ...]
    """In the file's order. A point event starts and stops at the same time."""
    left_out: Mapping[str, int]
    """Why -> how many rows are no event."""


def read_events(path: str) -> EventFile:
    """Read a file of events, local or s3://. Raises RecipeError, by row and column, for what can't be understood."""
    file = f"events: {path}"
    content = table_files.read(path, says="events")
    if isinstance(content, dict):
        return EventFile(events=tuple(_activitynet(content, path)), left_out={})
    rows = table_files.rows_of(content, file=file)
    left_out: Counter[str] = Counter()
    headers = list(rows[0].cells) if rows else []
    if boris.is_aggregated(headers):
        found = boris.aggregated(rows)
    elif boris.is_tabular(headers):
        found = boris.tabular(rows, left_out)
    else:
        found = _plain(rows, file)
    return EventFile(events=tuple(found), left_out=dict(left_out))


def _plain(rows: Sequence[Row], file: str) -> Iterator[Named]:
    """Yield the events of a table with a row each."""
    if not rows:
        return
    headers = list(rows[0].cells)
    name = columns.name_column(headers, file=file)
    others = [header for header in headers if header != name]
    means = columns.understood(others, {**columns.TIMES, **columns.LABEL}, file=file)
    _check_times(means, [header for header in others if header not in means.values()], file)
    extra = [str(header) for header in others if header not in means.values()]
    for row in rows:
        yield row.name(name), _event(row, means, extra)


def _check_times(means: Mapping[str, str], unknown: Sequence[str], file: str) -> None:
    """Refuse a table whose times can't be told, or may lie in a column that is not understood."""
    by_frames = "start_frame" in means or "stop_frame" in means
    has_stop = not means.keys().isdisjoint(("stop", "duration", "stop_frame"))
    if ("start" in means or by_frames) and (has_stop or not unknown):
        return
    lacking = "stop or end" if "start" in means or by_frames else "start and stop (or end)"
    given = ", ".join([*means.values(), *map(str, unknown)])
    raise RecipeError(
        f"{file} has the columns {given}, expected {lacking}: seconds or a clock, as start_time, end_time, duration, "
        "or frame numbers, as start_frame, end_frame"
    )


def _event(row: Row, means: Mapping[str, str], extra: Iterable[str]) -> Annotation:
    return replace(
        columns.range_of(row, means, points=True),
        label=row.text(means["label"]) if "label" in means else None,
        attributes=row.texts(extra),
    )


def _activitynet(content: Mapping[str, Any], path: str) -> Iterator[Named]:
    """Yield the events of ActivityNet's JSON."""
    expected = 'expected {"database": {VIDEO: {"annotations": [{"segment": [START, STOP], "label": ...}]}}}'
    database = content.get("database")
    if not isinstance(database, dict):
        raise RecipeError(f"events: {path} is a mapping without a database; {expected}, or a list of rows")
    means = {"start": "start", "stop": "stop", "label": "label"}
    for name, video in database.items():
        events = video.get("annotations", []) if isinstance(video, dict) else None
        for i, event in enumerate(events if isinstance(events, list) else [None]):
            segment = event.get("segment") if isinstance(event, dict) else None
            if not isinstance(segment, list) or len(segment) != 2:
                raise RecipeError(f"events: {path}, video {name!r}, annotation {i + 1}: got {event!r}; {expected}")
            cells = {"start": segment[0], "stop": segment[1], "label": event.get("label")}
            yield name, _event(Row(f"events: {path}, video {name!r}", i + 1, cells), means, ())
