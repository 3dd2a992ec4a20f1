"""The job as a Prefect flow: `patchlake run RECIPE`."""

from __future__ import annotations

from typing import Any

from prefect import flow

from patchlake.flows.body import run_body
from patchlake.flows.control.records import new_id
from patchlake.flows.session import SessionOptions


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
    `run_id` (by default a new one), `wait_seconds` and `performance_report`: see `SessionOptions`; `retry_failed`: see
    `forget_failed`.
    """
    options = SessionOptions(
        run_id=run_id or new_id(), wait_seconds=wait_seconds, performance_report=performance_report
    )
    return run_body(recipe, overrides, options, retry_failed=retry_failed)
