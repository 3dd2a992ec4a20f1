"""The lake's tables: Delta, so that any SQL engine reads them; written by one coordinator, fenced commit by commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

# Before deltalake is loaded: its allocator shall give back what is free, not keep it for ten seconds and longer.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake import layout
from patchlake.tasks.storage.location import Location

APP = "patchlake"
"""Name of the app transaction whose number fences commits."""
LOG_RETENTION = "interval 30 days"
"""How far back time travel goes; older log entries go when a table is tended."""
COMPACT_FILES = 64
"""A commit adds a file, and takes longer the more there are; a table that was open for many commits holds memory for
each (delta-io/delta-rs#4241)."""
COMPACT_BYTES = 16 << 20
"""Files of this size stay as they are, so that joining costs no more time, memory and disk the longer a run gets: what
was joined is kept for a week, for readers of older versions."""

_TEXT, _LONG, _INT, _REAL = pa.string(), pa.int64(), pa.int32(), pa.float64()


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


SCHEMAS: dict[str, pa.Schema] = {
    "sources": _schema(
        uri=_TEXT, size=_LONG, version=_TEXT, video_id=_TEXT, label=_TEXT, split=_TEXT, group=_TEXT,
        status=_TEXT, reason=_TEXT, message=_TEXT,
    ),
    "videos": _schema(
        video_id=_TEXT, container=_TEXT, codec=_TEXT, pixel_format=_TEXT, width=_INT, height=_INT, rotation=_INT,
        sample_aspect_num=_LONG, sample_aspect_den=_LONG, fps=_REAL, fps_num=_LONG, fps_den=_LONG,
        time_base_num=_LONG, time_base_den=_LONG, num_frames=_LONG, num_frames_from_header=_LONG, first_pts=_LONG,
        first_pts_seconds=_REAL, duration_seconds=_REAL, duration_seconds_from_header=_REAL,
        variable_rate=pa.bool_(), counted=pa.bool_(), num_video_streams=_INT, has_audio=pa.bool_(),
    ),
    "tracks": _schema(
        track=_INT, track_id=_TEXT, video_id=_TEXT, name=_TEXT, box=pa.list_(_REAL), to_source=pa.list_(_REAL),
    ),
    "track_boxes": _schema(track=_INT, seconds=_REAL, x=_REAL, y=_REAL, width=_REAL, height=_REAL),
    "spans": _schema(
        span_key=_TEXT, track=_INT, track_id=_TEXT, video_id=_TEXT, start_seconds=_REAL, stop_seconds=_REAL,
        num_rows=_LONG, first_grid_row=_LONG, row_start=_LONG, pts=pa.binary(), key_pts=pa.binary(),
        stop_pts=_LONG,
    ),
    "clips": _schema(
        clip_id=_TEXT, track=_INT, track_id=_TEXT, video_id=_TEXT, span_key=_TEXT, start_seconds=_REAL,
        stop_seconds=_REAL, label=_TEXT, targets=pa.map_(_TEXT, _REAL), row_start=_LONG, row_stop=_LONG,
    ),
    "regions": _schema(
        region_id=_TEXT, region_track=_TEXT, product=_TEXT, product_digest=_TEXT, track=_INT, video_id=_TEXT,
        span_key=_TEXT, label=_INT, row_start=_LONG, row_stop=_LONG, start_seconds=_REAL, last_seconds=_REAL,
        stop_seconds=_REAL, area=_REAL, box=pa.list_(_REAL), source_box=pa.list_(_REAL), first_box=pa.list_(_REAL),
        last_box=pa.list_(_REAL), motion=pa.list_(_REAL), mean_rgb=pa.list_(_REAL), mean_feature=pa.list_(_REAL),
        overlaps=pa.map_(_INT, _REAL),
    ),
    "annotations": _schema(
        uri=_TEXT, video_id=_TEXT, start_seconds=_REAL, stop_seconds=_REAL, box=pa.list_(_REAL), label=_TEXT,
        targets=pa.map_(_TEXT, _REAL),
    ),
    "receipts": _schema(
        unit_id=_TEXT, product=_TEXT, product_digest=_TEXT,
        span_keys=pa.list_(_TEXT), slots=pa.list_(_LONG), row_starts=pa.list_(_LONG), num_rows=pa.list_(_LONG),
        checksums=pa.list_(_TEXT), num_bytes=_LONG, decode_seconds=_REAL, compute_seconds=_REAL, write_seconds=_REAL,
        wait_seconds=_REAL,
    ),
    "failures": _schema(
        span_key=_TEXT, video_id=_TEXT, row_start=_LONG, num_rows=_LONG, num_rows_planned=_LONG, reason=_TEXT,
        message=_TEXT, surplus=pa.binary(),
    ),
    "runs": _schema(
        run_id=_TEXT, started=pa.timestamp("us", "UTC"), stopped=pa.timestamp("us", "UTC"), version=_TEXT,
        recipe=_TEXT, figures=_TEXT,
    ),
}  # fmt: skip

Row = Mapping[str, Any]


class Table:
    """One table of a lake. Reading is free; writing is for the coordinator, and each commit carries a number.

    Two plain appends from one snapshot are both accepted by Delta, so every commit is an app transaction whose number
    is checked on the very object that writes: a second coordinator is refused instead of doubling rows. `guard` raises
    where this coordinator may write no more.
    """

    def __init__(self, lake: Location, name: str, guard: Callable[[], None] | None = None) -> None:
        self.name = name
        self._guard = guard
        self.schema = SCHEMAS[name]
        self._url = str(lake / layout.table(name))
        self._options = lake.delta_options
        self._delta: DeltaTable | None = None
        self._num_appended = 0
        """Since the table was opened."""
        if DeltaTable.is_deltatable(self._url, storage_options=self._options):
            self._delta = self._open()
        self._number = self._number_now()
        """Of the last commit that this coordinator knows of."""

    def _open(self) -> DeltaTable:
        return DeltaTable(self._url, storage_options=self._options)

    @property
    def delta(self) -> DeltaTable | None:
        """The Delta table at the version last seen, or None where nothing was ever written."""
        return self._delta

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows; a column that the lake's code did not have yet is null."""
        names = list(columns or self.schema.names)
        if self._delta is None:
            return self.schema.empty_table().select(names)
        if not (new := self._new_columns()):
            return self._delta.to_pyarrow_table(columns=names)
        held = [name for name in names if name not in new]
        found = self._delta.to_pyarrow_table(columns=held or None)
        for name in new:
            found = found.append_column(self.schema.field(name), pa.nulls(found.num_rows, self.schema.field(name).type))
        return found.select(names)

    def _new_columns(self) -> set[str]:
        """Return the columns of today that the table does not have."""
        known = set() if self._delta is None else {field.name for field in self._delta.schema().fields}
        return set(self.schema.names) - known

    def rows(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return all rows as dicts."""
        found: list[dict[str, Any]] = self.read(columns).to_pylist()
        return found

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows in one commit; none, no commit."""
        data = self._arrow(rows)
        if data.num_rows:
            self._commit(data, "append")
            self._num_appended += 1
            if self._num_appended >= COMPACT_FILES:
                self._join()

    def overwrite(self, rows: Iterable[Row]) -> bool:
        """Make the table these rows in one commit, unless they are what it holds; return whether it changed."""
        data = self._arrow(rows)
        if self._delta is None and not data.num_rows:
            return False
        if self._delta is not None and self.read().cast(self.schema).equals(data):
            return False
        self._commit(data, "overwrite")
        return True

    def _arrow(self, rows: Iterable[Row]) -> pa.Table:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=self.schema)

    def _commit(self, data: pa.Table, mode: Any) -> None:
        if self._guard is not None:
            self._guard()
        if self._delta is None:
            self._delta = DeltaTable.create(
                self._url,
                schema=self.schema,
                storage_options=self._options,
                configuration={"delta.logRetentionDuration": LOG_RETENTION, "delta.checkpointInterval": "20"},
            )
        self._delta.update_incremental()
        self._refuse_another()
        write_deltalake(
            self._delta,
            data,
            mode=mode,
            schema_mode="merge" if self._new_columns() else None,
            commit_properties=CommitProperties(app_transactions=[Transaction(APP, self._number + 1)]),
        )
        self._number += 1
        self._delta.update_incremental()

    def _number_now(self) -> int:
        return 0 if self._delta is None else self._delta.transaction_version(APP) or 0

    def _refuse_another(self) -> None:
        if self._number_now() != self._number:
            raise LakeError(
                f"{self._url}: another coordinator has written here since this run read it; "
                "let one of the runs finish, then run this one again"
            )

    def _join(self) -> None:
        """Join small files where they are many, and open the table anew."""
        assert self._delta is not None
        sizes = pa.table(self._delta.get_add_actions())["size_bytes"].to_pylist()
        is_crowded = sum(size < COMPACT_BYTES for size in sizes) > COMPACT_FILES
        if is_crowded:
            if self._guard is not None:
                self._guard()
            self._delta.optimize.compact(target_size=COMPACT_BYTES)
            self._delta.create_checkpoint()
            self._delta.cleanup_metadata()
        if is_crowded or self._num_appended:
            self._delta = self._open()
            self._num_appended = 0
            self._refuse_another()

    def tend(self) -> None:
        """Keep commits and reads flat: join small files, remove those that no version of the last week needs.

        All in the folder are looked at: the log no longer names what was joined before a checkpoint of long ago, and
        never did what a killed coordinator left.
        """
        if self._delta is not None:
            self._join()
            self._delta.vacuum(dry_run=False, full=True)


class Tables:
    """All tables of a lake, opened when first asked for: `tables.clips.rows()`."""

    def __init__(self, lake: Location, guard: Callable[[], None] | None = None) -> None:
        self._lake = lake
        self._guard = guard
        self._open: dict[str, Table] = {}

    def __getattr__(self, name: str) -> Table:
        if name not in SCHEMAS:
            raise AttributeError(f"got the table {name!r}, expected one of: {', '.join(SCHEMAS)}")
        if name not in self._open:
            self._open[name] = Table(self._lake, name, self._guard)
        return self._open[name]

    def __getitem__(self, name: str) -> Table:
        return self.__getattr__(name)

    def __iter__(self) -> Any:
        return (self[name] for name in SCHEMAS)
