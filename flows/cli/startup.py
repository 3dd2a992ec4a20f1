"""How a run of the command line starts: whether there is work is known before Prefect or a cluster starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from patchlake.flows.body import run_body
from patchlake.flows.cli.coordinate import call_flow
from patchlake.flows.control import server
from patchlake.flows.load import load_recipe
from patchlake.flows.session import SessionOptions, WorkFound, early_cluster
from patchlake.tasks.lake.arrays import root_attrs
from patchlake.tasks.plan.dataset import lake_of
from patchlake.tasks.recipe import Recipe


def run_recipe(
    path: str, overrides: Sequence[str], options: SessionOptions, *, retry_failed: bool = False
) -> dict[str, Any]:
    """Bring a lake up to what a recipe says, and return the run's figures.

    Where the user names a Prefect server the run is a flow run on it. Else the same body runs without Prefect up to
    the first work that it finds; only then the temporary server and the cluster start, at once, and a flow begins.
    """
    if server.is_configured():
        return _flow(path, overrides, options, retry_failed=retry_failed)
    recipe = load_recipe(path, overrides)
    try:
        return _look(recipe, path, overrides, options, retry_failed=retry_failed)
    except WorkFound:
        server.use()
    with early_cluster(recipe, options):
        return _flow(path, overrides, options, retry_failed=retry_failed)


def _look(
    recipe: Recipe, path: str, overrides: Sequence[str], options: SessionOptions, *, retry_failed: bool
) -> dict[str, Any]:
    if root_attrs(lake_of(recipe)) is None:
        raise WorkFound
    return run_body(path, overrides, replace(options, only_look=True), retry_failed=retry_failed)


def _flow(path: str, overrides: Sequence[str], options: SessionOptions, *, retry_failed: bool) -> dict[str, Any]:
    from patchlake.flows.run import run

    words = (options.run_id, options.wait_seconds, retry_failed, options.performance_report)
    return call_flow(run, path, tuple(overrides), *words)
