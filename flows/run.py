"""The job, end to end: `patchlake run RECIPE`. The body is the table of contents."""

from __future__ import annotations

from typing import Any

from prefect import flow

from patchlake.flows.load import load_recipe
from patchlake.flows.session import open_session
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


@flow(name="patchlake", flow_run_name="{recipe}", validate_parameters=False)
def run(
    recipe: str,
    overrides: tuple[str, ...] = (),
    run_id: str | None = None,
    wait_seconds: float = 0.0,
    retry_failed: bool = False,
    performance_report: str | None = None,
) -> dict[str, Any]:
    """Bring a lake up to what a recipe says, and return the run's figures.

    `recipe` is the path of a YAML file; `overrides` are KEY=VALUE as of `--set`. What the lake holds is not done again.
    `run_id`, `wait_seconds` and `performance_report`: see `open_session`; `retry_failed`: see `forget_failed`.
    """
    wanted = load_recipe(recipe, overrides)
    sources = discover(wanted.corpus)
    with open_session(wanted, run_id, wait_seconds, performance_report) as session:
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
