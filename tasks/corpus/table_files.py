"""Files of rows that users bring (CSV, TSV, JSON, Parquet), and their cells as values.

Whatever is wrong in one is a RecipeError that names file, row, column, what was given and what was expected.
Rows count from 1, without the header.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from patchlake.tasks.errors import DecodeError, RecipeError
from patchlake.tasks.storage.reading import read_whole
from patchlake.tasks.storage.uris import is_s3, object_uri, split_s3, uri_of
from patchlake.tasks.types import Box

SUFFIXES = (".csv", ".tsv", ".json", ".parquet")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a user's file; empty cells, nulls and NaN all mean that nothing is said."""

    file: str
    number: int
    cells: Mapping[str, Any]

    def error(self, column: str, expected: str) -> RecipeError:
        """Return the error about a cell."""
        given = f"got {column} {self.cells.get(column)!r}"
        return RecipeError(f"{self.file}, row {self.number}: {given}, expected {expected}")

    def has(self, column: str) -> bool:
        """Whether the cell says anything."""
        value = self.cells.get(column)
        is_nan = isinstance(value, float) and math.isnan(value)
        return not (value is None or is_nan or (isinstance(value, str) and not value.strip()))

    def text(self, column: str) -> str | None:
        """Return a cell as text that any table can hold."""
        if not self.has(column):
            return None
        text = str(self.cells[column])
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(column, "text without lone surrogates") from error
        return text

    def number_of(self, column: str) -> float | None:
        """Return a cell that holds a finite number."""
        if not self.has(column):
            return None
        value = as_number(self.cells[column])
        if value is None:
            raise self.error(column, "a finite number")
        return value

    def seconds(self, column: str) -> float | None:
        """Return a cell that holds a time: seconds, or H:MM:SS.fff."""
        value = self.cells.get(column)
        if isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
            return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
        if not self.has(column):
            return None
        if (seconds := as_number(value)) is None or seconds < 0:
            raise self.error(column, "seconds >= 0 as a number or H:MM:SS.fff")
        return seconds

    def range_seconds(self, start: str, stop: str) -> tuple[float | None, float | None]:
        """Return two cells that hold a time range."""
        start_seconds, stop_seconds = self.seconds(start), self.seconds(stop)
        if stop_seconds is not None and stop_seconds <= (start_seconds or 0.0):
            raise self.error(stop, f"more than {start}, which is {start_seconds or 0.0:g}")
        return start_seconds, stop_seconds

    def box(self, column: str) -> Box | None:
        """Return a cell that holds x, y, width and height: as text between blanks or commas, or as a list."""
        if not self.has(column):
            return None
        value = self.cells[column]
        parts = re.split(r"[\s,]+", value.strip().strip("[]()").strip()) if isinstance(value, str) else value
        numbers = [as_number(part) for part in parts] if isinstance(parts, list | tuple) else []
        if len(numbers) != 4 or None in numbers or min(cast(list[float], numbers)[2:]) <= 0:
            raise self.error(column, "four finite numbers x y width height, the last two > 0")
        return cast(Box, tuple(numbers))


def as_number(value: object) -> float | None:
    """Return a finite number, given as one or as text; None for anything else."""
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value := value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def rows(place: str, *, says: str) -> list[Row]:
    """Return the rows of a file, or of an s3:// object; `says` begins each error: the key that named the file."""
    return rows_of(read(place, says=says), file=f"{says}: {place}")


def rows_of(content: Any, *, file: str) -> list[Row]:
    """Return what `read` gave as rows, where it is a list of mappings."""
    if not isinstance(content, list) or not all(isinstance(cells, dict) for cells in content):
        raise RecipeError(f"{file} is not a list of rows; expected a list of mappings from column to value")
    found = [Row(file, i + 1, cells) for i, cells in enumerate(content)]
    for row in found:
        if None in row.cells:  # the csv module's name for what lies past the last column
            raise RecipeError(f"{file}, row {row.number}: got more cells than the header has columns; quote commas")
    return found


def read(place: str, *, says: str) -> Any:
    """Return the content of a file of rows: of CSV, TSV and Parquet a list of mappings, of JSON whatever it holds."""
    try:
        data = read_whole(object_uri(*split_s3(place)) if is_s3(place) else uri_of(os.path.abspath(place)))
    except DecodeError as error:
        if error.reason == "missing":
            raise RecipeError(f"{says}: {place} does not exist; give the path of a file") from error
        raise RecipeError(f"{says}: {place} can't be read: {error.message}") from error
    suffix = os.path.splitext(place)[1].lower()
    try:
        if suffix == ".json":
            return json.loads(data)
        if suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet

            return pa.parquet.read_table(pa.BufferReader(data)).to_pylist()
        text = data.decode("utf-8-sig")
        header = text.partition("\n")[0]
        delimiter = "\t" if suffix == ".tsv" else max(",\t;", key=header.count)
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (ValueError, OSError, NotImplementedError, RecursionError, csv.Error) as error:  # of all readers alike
        raise RecipeError(f"{says}: {place} can't be read as {suffix[1:] or 'csv'}: {error}") from error
