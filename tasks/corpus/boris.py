"""BORIS' exports of coded behaviours (boris.unito.it): aggregated events, a row an event; tabular events, a row for
each start, stop and point. Column names differ between its versions; both forms are recognised by their headers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from patchlake.tasks.corpus.table_files import Row
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.types import Annotation

NAMES = ("Media file name", "Media file path", "Media file", "Observation id")
"""Columns that may name the video; the first that a file has counts."""
KINDS = ("Behavior type", "Status")
"""Columns of the tabular form that say START, STOP or POINT."""
OWN = ("Behavior", "Behavior type", "Status", "Start (s)", "Stop (s)", "Duration (s)", "Time", "Total length", "FPS",
       "Media duration (s)", "Source", "Observation type", "Total duration", *NAMES)  # fmt: skip
"""Columns that say when and what; all others are attributes of an event."""


def is_aggregated(headers: Sequence[object]) -> bool:
    """Whether a table is BORIS' export of aggregated events."""
    return {"Behavior", "Start (s)"} <= set(headers)


def is_tabular(headers: Sequence[object]) -> bool:
    """Whether a table is BORIS' tabular export of events."""
    return {"Behavior", "Time"} <= set(headers) and any(kind in headers for kind in KINDS)


def aggregated(rows: Sequence[Row]) -> Iterator[tuple[str, Annotation]]:
    """Yield each row's event; a point starts and stops at the same time."""
    column = _name_column(rows[0])
    for row in rows:
        is_point = row.text("Behavior type") == "POINT"
        start, stop = row.range_seconds("Start (s)", None if is_point else "Stop (s)", points=True)
        yield row.name(column), _event(row, start, start if is_point else stop)


def tabular(rows: Sequence[Row], left_out: Counter[str]) -> Iterator[tuple[str, Annotation]]:
    """Yield points, and a state event for each START with the next STOP of the same video, subject and behaviour.

    Its modifiers may differ between the two: those at the start stand. `left_out` counts the rows without a partner.
    """
    column = _name_column(rows[0])
    kind = next(kind for kind in KINDS if kind in rows[0].cells)
    begun: dict[tuple[str, str | None, str | None], Row] = {}
    for row in rows:
        name, time, what = row.name(column), row.seconds("Time"), (row.text(kind) or "").upper()
        if time is None:
            raise row.error("Time", "seconds")
        key = name, row.text("Subject"), row.text("Behavior")
        if what == "POINT":
            yield name, _event(row, time, time)
        elif what == "START":
            if key in begun:
                left_out["a start without a stop"] += 1
            begun[key] = row
        elif what == "STOP" and (start := begun.pop(key, None)) is not None:
            yield name, _event(start, start.seconds("Time"), time)
        elif what == "STOP":
            left_out["a stop without a start"] += 1
        else:
            raise row.error(kind, "START, STOP or POINT")
    if begun:
        left_out["a start without a stop"] += len(begun)


def _name_column(row: Row) -> str:
    for column in NAMES:
        if column in row.cells:
            return column
    given = ", ".join(map(str, row.cells))
    raise RecipeError(f"{row.file} has the columns {given}, expected one of {', '.join(NAMES)} to name the video")


def _event(row: Row, start: float | None, stop: float | None) -> Annotation:
    said = [column for column in row.cells if column not in OWN and not column.startswith("Observation")]
    return Annotation(start_seconds=start, stop_seconds=stop, label=row.text("Behavior"), attributes=row.texts(said))
