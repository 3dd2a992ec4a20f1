"""One table of a lake: Delta, so that any SQL engine reads it; written by one coordinator, fenced commit by commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

# Set before deltalake is loaded: its allocator then returns free memory at once, not after ten seconds or more.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake import layout
from patchlake.tasks.lake.schema import TableSchema
from patchlake.tasks.storage.location import Location

APP = "patchlake"
"""Name of the app transaction whose number fences commits."""
LOG_RETENTION = "interval 30 days"
"""How far back time travel goes; `tend` removes older log entries."""
COMPACT_FILES = 64
"""Small files are joined when there are more. Each commit adds a file and slows the next one down, and a table that is
open for many commits holds memory for each (delta-io/delta-rs#4241)."""
COMPACT_BYTES = 16 << 20
"""Files of this size are not joined again, so that joining costs no more time, memory and disk the longer a run gets;
what was joined stays for a week, for readers of older versions."""


class Table:
    """One table of a lake. Anyone may read it; the coordinator alone writes, and each commit carries a number.

    Delta accepts two plain appends from one snapshot. So every commit is an app transaction whose number is checked on
    the very object that writes: a second coordinator is refused instead of doubling rows. `guard` is called before a
    commit, and raises where this coordinator may write no more.
    """

    def __init__(self, lake: Location, table: TableSchema, guard: Callable[[], None] | None = None) -> None:
        self.name = table.name
        self.schema = table.arrow
        self._guard = guard
        self._url = str(lake / layout.table(table.name))
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
        """Return all rows, or some columns of them. A column that the table's code did not have yet is null."""
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

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows in one commit; without rows there is no commit."""
        data = self._arrow(rows)
        if data.num_rows:
            self._commit(data, "append")
            self._num_appended += 1
            if self._num_appended >= COMPACT_FILES:
                self._join()

    def overwrite(self, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Replace all rows in one commit, unless they are what the table holds; return whether it changed."""
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
        """Join small files where there are many, and open the table anew, which frees the memory of past commits."""
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
        """Keep commits and reads fast: join small files, remove those that no version of the last week needs.

        Every file in the folder is looked at: the log no longer names files joined before an old checkpoint, and
        never named those that a killed coordinator left.
        """
        if self._delta is not None:
            self._join()
            self._delta.vacuum(dry_run=False, full=True)
