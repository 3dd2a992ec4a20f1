"""Regions of stored labels: the table of them, and the tracks that follow them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from patchlake.flows.session import Session
from patchlake.flows.stages.plan import run_plan
from patchlake.flows.stages.survey import survey_sources
from patchlake.tasks.features.regions import rows
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import Placement, Source
from patchlake.tasks.unit.regions import RegionWork, describe_job, region_entries, region_work, write_regions


def follow_regions(session: Session, sources: Sequence[Source], survey: Survey, plan: Plan) -> tuple[Survey, Plan]:
    """Bring the table `regions` up to date; where it now asks for other tracks, plan and run them as well."""
    tracks = session.dataset.recipe.tracks
    session.use(session.dataset.reread())
    if not describe_regions(session, plan.placements) or tracks == "frame" or not tracks.are_found:
        return survey, plan
    survey = survey_sources(session, sources, survey)
    again = run_plan(session, survey)
    return survey, again.after(plan)


def describe_regions(session: Session, placements: Iterable[Placement]) -> bool:
    """Give the table `regions` a row for every committed region of these spans; return whether it changed."""
    dataset = session.dataset
    if not region_entries(dataset):
        return False
    with session.stage("regions"):
        works = region_work(dataset, placements)
        described = {work.entry.name: _described(session, work) for work in works}
        session.figures.regions, changed = write_regions(dataset, works, described)
        return changed


def _described(session: Session, work: RegionWork) -> list[dict[str, Any]]:
    """Return the rows of the parts, from workers that read labels and frames."""
    if not work.parts:
        return []
    session.begin_work()
    found: list[dict[str, Any]] = []
    for outcome in session.cluster.run(partial(rows.describe, describe_job(session.dataset, work)), work.parts):
        if outcome.result is None:
            raise outcome.error or RuntimeError("a task without a result and without an error")
        found += outcome.result
    return found
