"""The tables of a lake, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from patchlake.tasks.lake import schema
from patchlake.tasks.lake.schema import TableSchema
from patchlake.tasks.lake.table import Table
from patchlake.tasks.storage.location import Location


class _Opened:
    """A table that is opened at its first use."""

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema

    def __get__(self, tables: Tables, owner: type[Tables] | None = None) -> Table:
        return tables.open(self._schema)


class Tables:
    """All tables of a lake: `Tables(lake).clips.rows()`. `guard` raises if this coordinator may no longer write."""

    sources = _Opened(schema.SOURCES)
    videos = _Opened(schema.VIDEOS)
    tracks = _Opened(schema.TRACKS)
    track_boxes = _Opened(schema.TRACK_BOXES)
    spans = _Opened(schema.SPANS)
    clips = _Opened(schema.CLIPS)
    regions = _Opened(schema.REGIONS)
    annotations = _Opened(schema.ANNOTATIONS)
    receipts = _Opened(schema.RECEIPTS)
    failures = _Opened(schema.FAILURES)
    runs = _Opened(schema.RUNS)

    def __init__(self, lake: Location, guard: Callable[[], None] | None = None) -> None:
        self._lake = lake
        self._guard = guard
        self._open: dict[str, Table] = {}

    def open(self, table: TableSchema) -> Table:
        """Return a table; the same object each time, so that its commits are numbered consecutively."""
        if table.name not in self._open:
            self._open[table.name] = Table(self._lake, table, self._guard)
        return self._open[table.name]

    def __iter__(self) -> Iterator[Table]:
        return (self.open(table) for table in schema.ALL)
