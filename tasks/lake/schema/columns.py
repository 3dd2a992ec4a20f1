"""What a table is: its name, its columns with their types, and whether the digest covers each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

TEXT, LONG, INT, REAL, FLAG = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
REALS, TEXTS, LONGS = pa.list_(REAL), pa.list_(TEXT), pa.list_(LONG)
NUMBERS_BY_NAME = pa.map_(TEXT, REAL)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the digest covers."""

    kind: pa.DataType
    part: Literal["content", "layout"]
    """content: equal in lakes of the same videos; layout: a row or track number, which depends on the history."""


def content(kind: pa.DataType) -> Column:
    """Return a column that is equal in two lakes of the same videos."""
    return Column(kind, "content")


def layout(kind: pa.DataType) -> Column:
    """Return a column that says where something is stored, which depends on the order of work."""
    return Column(kind, "layout")


@dataclass(frozen=True)
class TableSchema:
    """One table; a plain type is a column that the digest does not cover (paths, times of day, units, run ids)."""

    name: str
    columns: Mapping[str, pa.DataType | Column]

    @property
    def arrow(self) -> pa.Schema:
        """The columns as an Arrow schema."""
        kinds = ((name, c.kind if isinstance(c, Column) else c) for name, c in self.columns.items())
        return pa.schema([pa.field(name, kind) for name, kind in kinds])

    def digested(self, *parts: Literal["content", "layout"]) -> list[str]:
        """Return the names of the columns that the given parts of the digest cover."""
        return [name for name, c in self.columns.items() if isinstance(c, Column) and c.part in parts]

    def row(self, value: object, **given: Any) -> Row:
        """Return a row: each column is given by name, or is the value's attribute of that name."""
        return {name: given[name] if name in given else getattr(value, name) for name in self.columns}
