"""One table of a lake: Delta, so that any SQL engine reads it; written by one coordinator, with fenced commits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

# Set before deltalake is loaded: its allocator then returns free memory at once instead of after ten seconds or more.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake import layout
from patchlake.tasks.lake.schema import TableSchema
from patchlake.tasks.storage.location import Location

APP = "patchlake"
"""Name of the app transaction whose number fences commits."""
LOG_RETENTION = "interval 30 days"
"""How far back time travel goes; compaction removes older log entries."""
COMPACT_FILES = 64
"""Small files are compacted when there are more than this. Each commit adds a file and slows the next one down, and a
table that stays open holds memory for each commit (delta-io/delta-rs#4241)."""
COMPACT_BYTES = 16 << 20
"""Files of this size are not compacted again, so that the cost in time, memory and disk does not grow with the length
of a run. Replaced files stay for a week, for readers of older versions."""


class Table:
    """One table of a lake. Anyone may read it; only the coordinator writes, and each commit carries a number.

    Delta accepts two plain appends from one snapshot. So every commit is an app transaction whose number is checked on
    the same object that writes: a second coordinator is refused instead of duplicating rows. `guard` is called before
    each commit, and raises if this coordinator may no longer write.
    """

    def __init__(self, lake: Location, table: TableSchema, guard: Callable[[], None] | None = None) -> None:
        self.name = table.name
        self.schema = table.arrow
        self._guard = guard
        self._url = str(lake / layout.table(table.name))
        self._options = lake.delta_options
        self._delta: DeltaTable | None = None
        self._num_appended = 0
        """Appends since the table was opened."""
        if DeltaTable.is_deltatable(self._url, storage_options=self._options):
            self._delta = self._open()
        self._number = self._number_now()
        """Number of the last commit known to this coordinator."""

    def _open(self) -> DeltaTable:
        return DeltaTable(self._url, storage_options=self._options)

    @property
    def delta(self) -> DeltaTable | None:
        """The Delta table at the version last seen, or None if nothing was ever written."""
        return self._delta

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows, or some of their columns. A column added since the table was written is null."""
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
        """Return the columns of the schema that the stored table does not have."""
        known = set() if self._delta is None else {field.name for field in self._delta.schema().fields}
        return set(self.schema.names) - known

    def rows(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return all rows as dicts."""
        found: list[dict[str, Any]] = self.read(columns).to_pylist()
        return found

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows in one commit; without rows there is no commit."""
        data = self._arrow(rows)
        if data.num_rows:
            self._commit(data, "append")
            self._num_appended += 1
            if self._num_appended >= COMPACT_FILES:
                self._join()

    def overwrite(self, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Replace all rows in one commit, unless the table holds exactly these; return whether it changed."""
        data = self._arrow(rows)
        if self._delta is None and not data.num_rows:
            return False
        if self._delta is not None and self.read().cast(self.schema).equals(data):
            return False
        self._commit(data, "overwrite")
        return True

    def _arrow(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
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
                "let one of the runs finish, then start this one again"
            )

    def _join(self) -> None:
        """Compact small files if there are many, and reopen the table, which frees the memory of past commits."""
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
        """Keep commits and reads fast: compact small files, remove those that no version of the last week needs.

        This scans every file in the folder: the log no longer names files compacted before an old checkpoint, and
        never named those left by a killed coordinator.
        """
        if self._delta is not None:
            self._join()
            self._delta.vacuum(dry_run=False, full=True)
