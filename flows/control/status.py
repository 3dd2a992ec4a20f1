"""`patchlake status`: the recorded runs, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from patchlake.flows.control.records import RunRecord

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("run", "state", "recipe", "lake", "host", "since", "last line")


def lines(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yield the runs as text in columns, for a pipe or a file: nothing is cut off."""
    rows = [COLUMNS, *(_row(record) for record in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def table(records: Sequence[RunRecord]) -> Table:
    """Return the runs as columns that fit a terminal: long cells are folded."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        found.add_column(name, no_wrap=name in ("run", "state"), overflow="fold")
    for record in records:
        found.add_row(*(Text(cell) for cell in _row(record)))
    return found


def _row(record: RunRecord) -> tuple[str, ...]:
    request, process = record.request, record.coordinator
    host = process.host if process else f"{request.queue} job {request.job_id}" if request.job_id else "-"
    since = datetime.fromtimestamp(record.started).astimezone().isoformat(" ", "seconds")
    return record.run_id, record.state, request.recipe, request.lake, host, since, record.last_line
