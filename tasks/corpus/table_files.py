"""Files of rows that users bring (CSV, TSV, JSON, JSON lines, Parquet, a list of paths), and their cells as values.

Every error is a RecipeError that names the file, row, column, what was given and what was expected.
Rows count from 1, without the header. Blanks around headers and after separators, `sep=;` lines, `#` comments and what
exports write before their header are passed over.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from patchlake.tasks.errors import DecodeError, RecipeError
from patchlake.tasks.storage.reading import read_whole
from patchlake.tasks.storage.uris import is_s3, object_uri, split_s3, uri_of
from patchlake.tasks.types import Box

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d)|(\d+)):([0-5]?\d(?:[.,]\d*)?)")
"""H:MM:SS.fff, or M:SS with any number of minutes."""
_MOST_PREAMBLE_LINES = 100
_BORIS_HEADER = ("Time", "Behavior")
"""Columns of BORIS' tabular export, which begins with lines about the observation."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a user's file; empty cells, nulls and NaN all mean "no value"."""

    file: str
    number: int
    cells: Mapping[str, Any]

    def error(self, column: str, expected: str) -> RecipeError:
        """Return the error for a cell."""
        given = f"got {column} {self.cells.get(column)!r}"
        return RecipeError(f"{self.file}, row {self.number}: {given}, expected {expected}")

    def has(self, column: str) -> bool:
        """Whether the cell has a value."""
        value = self.cells.get(column)
        is_nan = isinstance(value, float) and math.isnan(value)
        return not (value is None or is_nan or (isinstance(value, str) and not value.strip()))

    def text(self, column: str) -> str | None:
        """Return a cell as text that can be encoded as UTF-8."""
        if not self.has(column):
            return None
        text = str(self.cells[column])
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(column, "text without lone surrogates") from error
        return text

    def texts(self, columns: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return those of some cells that say anything, by column."""
        return tuple((column, text) for column in columns if (text := self.text(column)) is not None)

    def number_of(self, column: str) -> float | None:
        """Return a cell as a finite number, None if empty."""
        if not self.has(column):
            return None
        value = as_number(self.cells[column])
        if value is None:
            raise self.error(column, "a finite number")
        return value

    def seconds(self, column: str) -> float | None:
        """Return a cell that holds a time: seconds, M:SS or H:MM:SS.fff."""
        value = self.cells.get(column)
        if isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
            return int(clock[1] or 0) * 3600 + int(clock[2] or clock[3]) * 60 + float(clock[4].replace(",", "."))
        if not self.has(column):
            return None
        if (seconds := as_number(value)) is None or seconds < 0:
            raise self.error(column, "seconds >= 0 as a number, M:SS or H:MM:SS.fff")
        return seconds

    def range_seconds(
        self, start: str | None, stop: str | None, *, points: bool = False
    ) -> tuple[float | None, float | None]:
        """Return two cells that hold a time range; with `points` it may last no time. None: no such column."""
        start_seconds = None if start is None else self.seconds(start)
        stop_seconds = None if stop is None else self.seconds(stop)
        if stop is not None and stop_seconds is not None:
            first = start_seconds or 0.0
            if stop_seconds < first or (stop_seconds == first and not points):
                raise self.error(stop, f"more than {start or 'start'}, which is {first:g}")
        return start_seconds, stop_seconds

    def frames(self, first: str | None, last: str | None) -> tuple[int | None, int | None]:
        """Return two cells that hold frame numbers from 0, the second one not less than the first."""
        found = [None if column is None else self._frame(column) for column in (first, last)]
        if last is not None and found[1] is not None and found[1] < (found[0] or 0):
            raise self.error(last, f"at least {first}, which is {found[0] or 0}")
        return found[0], found[1]

    def _frame(self, column: str) -> int | None:
        number = self.number_of(column)
        if number is not None and (number < 0 or number != int(number)):
            raise self.error(column, "a frame number: 0, 1, 2, ...")
        return None if number is None else int(number)

    def name(self, column: str) -> str:
        """Return a cell that names a video."""
        if not self.has(column) or "\0" in (name := str(self.cells[column])):
            raise self.error(column, "the name of a video")
        return name

    def box(self, column: str) -> Box | None:
        """Return a cell as x, y, width, height: text separated by blanks or commas, or a list."""
        if not self.has(column):
            return None
        value = self.cells[column]
        parts = re.split(r"[\s,]+", value.strip().strip("[]()").strip()) if isinstance(value, str) else value
        numbers = [as_number(part) for part in parts] if isinstance(parts, list | tuple) else []
        if len(numbers) != 4 or None in numbers or min(cast(list[float], numbers)[2:]) <= 0:
            raise self.error(column, "four finite numbers x y width height, the last two > 0")
        return cast(Box, tuple(numbers))


def as_number(value: object) -> float | None:
    """Return a finite number, given as a number or as text; None for anything else."""
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
    """Return the rows of a file or s3:// object; `says` begins each error: the recipe key that named the file."""
    return rows_of(read(place, says=says), file=f"{says}: {place}")


def rows_of(content: Any, *, file: str) -> list[Row]:
    """Return the result of `read` as rows; RecipeError if it is not a list of mappings."""
    if not isinstance(content, list) or not all(isinstance(cells, dict) for cells in content):
        raise RecipeError(f"{file} is not a list of rows; expected a list of mappings from column to value")
    found = []
    for i, cells in enumerate(content):
        if None in cells:  # the csv module's key for cells past the last column
            raise RecipeError(f"{file}, row {i + 1}: got more cells than the header has columns; quote commas")
        found.append(Row(file, i + 1, {str(column).strip(): value for column, value in cells.items()}))
    return found


def read(place: str, *, says: str) -> Any:
    """Return the content of a file of rows: a list of mappings, of JSON whatever it holds."""
    try:
        data = read_whole(object_uri(*split_s3(place)) if is_s3(place) else uri_of(os.path.abspath(place)))
    except DecodeError as error:
        if error.reason == "missing":
            raise RecipeError(f"{says}: {place} does not exist; give the path of a file") from error
        raise RecipeError(f"{says}: {place} can't be read: {error.message}") from error
    suffix = os.path.splitext(place)[1].lower()
    try:
        if suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet

            return pa.parquet.read_table(pa.BufferReader(data)).to_pylist()
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        if suffix == ".json":
            return json.loads(text)
        if suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if suffix == ".txt":
            return [{"uri": line.strip()} for line in text.splitlines() if line.strip()]
        return _table(text, tabs=suffix == ".tsv", file=f"{says}: {place}")
    except (ValueError, OSError, NotImplementedError, RecursionError, csv.Error) as error:  # from any of the readers
        raise RecipeError(f"{says}: {place} can't be read as {suffix[1:] or 'csv'}: {error}") from error


def _table(text: str, *, tabs: bool, file: str) -> list[dict[str, Any]]:
    """Return the rows of separated text below its header."""
    separator, text = _said_separator(text)
    first = next((i for i, line in enumerate(text.splitlines()) if line.strip() and not line.startswith("#")), 0)
    lines = text.splitlines(keepends=True)[first:]
    delimiter = separator or ("\t" if tabs else max(",\t;", key=(lines or [""])[0].count))
    lines, delimiter = _below_preamble(lines, delimiter)
    reader = csv.DictReader(io.StringIO("".join(lines), newline=""), delimiter=delimiter, skipinitialspace=True)
    headers = [header.strip() for header in reader.fieldnames or ()]
    for header in headers:
        if header and headers.count(header) > 1:
            raise RecipeError(f"{file} has two columns {header!r}; name each column once")
    return list(reader)


def _said_separator(text: str) -> tuple[str | None, str]:
    """Return the separator that Excel's first line `sep=;` says, and what follows it."""
    line, _, rest = text.partition("\n")
    said = re.fullmatch(r'"?sep=(.)"?', line.strip(), re.IGNORECASE)
    return (said[1], rest) if said else (None, text)


def _below_preamble(lines: list[str], delimiter: str) -> tuple[list[str], str]:
    """Return the lines from BORIS' tabular header on, where a file has one further down, else all lines."""
    for i, line in enumerate(lines[:_MOST_PREAMBLE_LINES]):
        for separator in (delimiter, "\t", ",", ";"):
            cells = [cell.strip().strip('"') for cell in line.split(separator)]
            if i and all(header in cells for header in _BORIS_HEADER):
                return lines[i:], separator
    return lines, delimiter
