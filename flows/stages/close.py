"""The end of a run: its figures as a table on the terminal, and as a row of `runs`."""

from __future__ import annotations

import importlib.metadata
import json
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from patchlake.flows.control import prefect_record
from patchlake.flows.session import Session
from patchlake.tasks import objectives
from patchlake.tasks.lake.layout import REPORT_PAGE


def close_run(session: Session) -> dict[str, Any]:
    """Write the run's row, print its table, and return its figures."""
    stopped = datetime.now(UTC)
    session.figures.seconds["all"] = (stopped - session.started).total_seconds()
    figures = session.figures.to_json()
    session.dataset.tables.runs.append([
        {
            "run_id": session.run_id, "started": session.started, "stopped": stopped,
            "version": importlib.metadata.version("patchlake"), "recipe": session.dataset.recipe.model_dump_json(),
            "figures": json.dumps(figures, default=str),
        }
    ])  # fmt: skip
    Console().print(table_of(session))
    return prefect_record.note_done(figures)


def table_of(session: Session) -> Table:
    """Return the short table that ends a run."""
    lake = session.dataset.lake
    table = Table(title=f"{lake}  run {session.run_id}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for name, text in (*session.figures.rows(), *_learnt(session), ("report", f"{lake}/{REPORT_PAGE}")):
        table.add_row(name, text)
    return table


def _learnt(session: Session) -> list[tuple[str, str]]:
    """Return what was learnt, and what the controls could, as (name, sentence)."""
    train, options = session.figures.train, session.dataset.recipe.train
    if train is None or options is None:
        return []
    return [("train", f"skipped: {train['skipped']}")] if "skipped" in train else objectives.build(options).rows(train)
