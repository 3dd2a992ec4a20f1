"""The report of a run: one HTML page in the lake."""

from __future__ import annotations

import importlib.metadata

from prefect import task
from prefect.cache_policies import NO_CACHE

from patchlake.flows.session import Session
from patchlake.tasks.lake.layout import REPORT_PAGE
from patchlake.tasks.report import facts


def write_report(session: Session) -> None:
    """Write LAKE/NAME/report/index.html; a page made from what the lake holds now is not made again."""
    with session.stage("report"):
        version = importlib.metadata.version("patchlake")
        key = facts.page_key(session.tables, session.recipe, session.figures, version)
        known = session.lake.get(REPORT_PAGE)
        if known is not None and key.encode() in known and not _worked(session):
            return
        render = task(name="report", cache_policy=NO_CACHE)(lambda: _render(session, key, version))
        session.lake.put(REPORT_PAGE, render().encode())


def _worked(session: Session) -> bool:
    """Whether this run ran units, reduced or trained."""
    made = {"ingest", "trained", *(reduction.name for reduction in session.recipe.reduce)}
    return not made.isdisjoint(session.figures)


def _render(session: Session, key: str, version: str) -> str:
    from patchlake.tasks.report.page import render  # matplotlib only where something is drawn

    run = facts.Run(
        run_id=session.run_id,
        started=session.started,
        version=version,
        figures=session.figures,
        seconds={name: seconds for name, seconds in session.seconds.items() if name != "report"},
    )
    return render(session.lake, session.tables, session.recipe, run, key=key)
