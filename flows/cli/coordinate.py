"""What `run` and `features` have in common: this process is the coordinator of a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from patchlake.flows.cli import errors
from patchlake.flows.cli.options import RunOptions
from patchlake.tasks.recipe import Recipe


def coordinate(options: RunOptions, recipe: Recipe, work: Callable[[str], int]) -> int:
    """Do the work of a run under its id, which `work` is given, and return the exit code.

    The run is recorded while it lasts; SIGTERM ends it as Ctrl-C does.
    """
    from patchlake.flows.control import records
    from patchlake.flows.control.home import RUN_VARIABLE
    from patchlake.flows.load import cluster_spec
    from patchlake.flows.telemetry.unit_log import print_unit_lines
    from patchlake.tasks.lake.lock import refuse_if_held
    from patchlake.tasks.storage.location import Location

    lake = Location(recipe.lake) / recipe.name
    if not options.wait_seconds:
        refuse_if_held(lake)  # in one sentence, before Prefect and the cluster
    run_id = options.run_id or records.new_id()
    os.environ[RUN_VARIABLE] = run_id  # processes that the run starts inherit it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    detached = options.run_id is not None
    if options.verbose or detached:
        print_unit_lines()
    queue = cluster_spec(recipe).queue
    request = records.Request(
        recipe=options.absolute_recipe, overrides=options.overrides, lake=str(lake), detached=detached, queue=queue
    )
    with records.coordinating(run_id, request) as ending:
        ending.exit_code = errors.code_of(lambda: work(run_id))
    return ending.exit_code


def call_flow(flow: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Run a Prefect flow and return its figures; its errors are raised, not printed."""
    from patchlake.flows.control import prefect_record, server

    errors.hide_tracebacks()
    server.wait_if_in_use()
    return prefect_record.call(flow, *args)
