"""Deciding what goes where, and doing it: one pass over the plan, or two where decoding gave more than promised."""

from __future__ import annotations

from collections import Counter

from patchlake.flows.session import Session
from patchlake.flows.stages.units import run_units
from patchlake.tasks import failpoints
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.plan.verdicts import Judged
from patchlake.tasks.unit.drop import drop_stale
from patchlake.tasks.unit.record import record
from patchlake.tasks.unit.settle import settle


def run_plan(session: Session, survey: Survey) -> Plan:
    """Plan and run the units; frames that the packets had not promised get a second pass."""
    plan = plan_units(session, survey)
    known = len(session.dataset.ledger.surplus)
    run_units(session, survey, plan)
    if len(session.dataset.ledger.surplus) == known:
        return plan
    session.use(session.dataset.reread())
    again = plan_units(session, survey)
    run_units(session, survey, again)
    return again.after(plan)


def plan_units(session: Session, survey: Survey) -> Plan:
    """Decide what goes where, and record the decision before any work."""
    with session.stage("plan"):
        if session.dataset.ledger.stale:
            session.begin_work()
        drop_stale(session.dataset)
        plan = make_plan(session.dataset, survey, session.workers)
        if plan.new or plan.all_units:
            session.begin_work()
        _note_sources(session, record(session.dataset, survey, plan))
        failpoints.reach("planned")
        return plan


def settle_dataset(session: Session, survey: Survey, plan: Plan) -> None:
    """Give every source its verdict and make `clips` what the recipe says."""
    with session.stage("settle"):
        settled = settle(session.dataset, survey, plan)
        session.figures.clips = settled.num_clips
        _note_sources(session, settled.judged)


def _note_sources(session: Session, judged: Judged) -> None:
    session.figures.sources = Counter(source.status for source, _ in judged)
