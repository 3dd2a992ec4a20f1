"""The job, end to end: `patchlake run RECIPE`. The body is the table of contents."""

from __future__ import annotations

from typing import Any

from prefect import flow

from patchlake.flows.load import load_recipe
from patchlake.flows.session import open_session
from patchlake.flows.stages import close, ingest, reduce, regions, report, train
from patchlake.tasks.corpus.discover import discover


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
    `run_id`, `wait_seconds` and `performance_report` are as of `session.open_session`; `retry_failed`: see
    `ingest.forget_failed`.
    """
    wanted = load_recipe(recipe, overrides)
    sources = discover(wanted.corpus)
    with open_session(wanted, run_id, wait_seconds, performance_report) as session:
        ingest.forget_failed(session, retry_failed=retry_failed)
        survey = ingest.survey_sources(session, sources)
        plan = ingest.run_plan(session, survey)
        survey, plan = regions.follow(session, sources, survey, plan)
        ingest.settle(session, survey, plan)
        close.measure_light(session, plan)
        reduce.run_reductions(session)
        train.run_training(session)
        report.write_report(session)
        return close.close_run(session)
