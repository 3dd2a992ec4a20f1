"""The report of a run: one HTML page in the lake."""

from __future__ import annotations

import importlib.metadata

from patchlake.flows.session import Session, current
from patchlake.flows.stages.prefect_task import stage_task
from patchlake.tasks.report.facts import Run
from patchlake.tasks.report.keep import keep_page, key_of_new_page


def write_report(session: Session) -> None:
    """Write LAKE/NAME/report/index.html; a page made from what the lake holds now is not made again."""
    with session.stage("report"):
        if (key := key_of_new_page(session.dataset, _run_of(session))) is not None:
            draw_page(key)


@stage_task("report")
def draw_page(key: str) -> None:
    """Draw the page of the run under way, and put it into the lake."""
    from patchlake.tasks.report.page import render  # matplotlib only where something is drawn

    session = current()
    keep_page(session.dataset.lake, render(session.dataset, _run_of(session), key=key))


def _run_of(session: Session) -> Run:
    version = importlib.metadata.version("patchlake")
    return Run(run_id=session.run_id, started=session.started, version=version, figures=session.figures)
