"""The job, end to end, as a plain function. Its body is the table of contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchlake.flows.load import load_recipe
from patchlake.flows.session import SessionOptions, open_session
from patchlake.flows.stages.close import close_run
from patchlake.flows.stages.light import measure_light
from patchlake.flows.stages.plan import run_plan, settle_dataset
from patchlake.flows.stages.reduce import run_reductions
from patchlake.flows.stages.regions import follow_regions
from patchlake.flows.stages.report import write_report
from patchlake.flows.stages.survey import survey_sources
from patchlake.flows.stages.train import run_training
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.unit.drop import forget_failed


def run_body(
    recipe: str, overrides: Sequence[str], options: SessionOptions, *, retry_failed: bool = False
) -> dict[str, Any]:
    """Bring a lake up to what a recipe says, and return the run's figures; `retry_failed`: see `forget_failed`.

    Outside of a Prefect flow it does what takes no cluster, with `only_look`.
    """
    wanted = load_recipe(recipe, overrides)
    sources = discover(wanted.corpus)
    with open_session(wanted, options) as session:
        forget_failed(session.dataset, retry_failed=retry_failed)
        survey = survey_sources(session, sources)
        plan = run_plan(session, survey)
        survey, plan = follow_regions(session, sources, survey, plan)
        settle_dataset(session, survey, plan)
        measure_light(session, plan)
        run_reductions(session)
        run_training(session)
        write_report(session)
        return close_run(session)
