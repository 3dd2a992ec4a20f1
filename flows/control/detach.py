"""`patchlake run --detach`: the coordinator goes to the background, or becomes a job where its workers are jobs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from patchlake.cluster import coordinator_job as jobs
from patchlake.cluster.kinds.remote import QueueSpec
from patchlake.flows.control import records
from patchlake.flows.control.records import Asked, Run
from patchlake.flows.session import cluster_spec
from patchlake.tasks.errors import PatchlakeError
from patchlake.tasks.lake.lock import refuse_if_held
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage.location import Location

START_SECONDS = 60.0


def detach(recipe: Recipe, path: str, overrides: Sequence[str], wait_seconds: float, *words: str) -> str:
    """Start a coordinator that outlives this process and its terminal, and return its run id.

    The recipe has been checked; `words` are further options of `run`. A lake that another run owns is refused now,
    unless it is to be waited for.
    """
    lake = Location(recipe.lake) / recipe.name
    if not wait_seconds:
        refuse_if_held(lake)
    run, spec = Run(records.new_id()), cluster_spec(recipe)
    sets = [word for override in overrides for word in ("--set", override)]
    path = os.path.abspath(path)
    command = [
        "-P",
        "-m",
        "patchlake.flows",
        "run",
        path,
        *sets,
        "--run-id",
        run.run_id,
        "--wait",
        str(wait_seconds),
        *words,
    ]
    env = {records.VARIABLE: run.run_id, "PATCHLAKE_HOME": str(records.home().parent), "PYTHONUNBUFFERED": "1"}
    if not isinstance(spec, QueueSpec):
        run.write("asked", Asked(recipe=path, overrides=overrides, lake=str(lake), detached=True))
        _to_background(run, [sys.executable, *command], env)
        return run.run_id
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    job_id = jobs.submit(spec, records.name_of(run.run_id), [spec.python or sys.executable, *command], run.log, env)
    asked = Asked(recipe=path, overrides=overrides, lake=str(lake), detached=True, queue=spec.kind, job_id=job_id)
    run.write("asked", asked)
    return run.run_id


def _to_background(run: Run, command: list[str], env: dict[str, str]) -> None:
    """Start the coordinator in a session of its own, and wait until it has written itself down."""
    with run.log.open("ab") as log:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **env}
        )
    deadline = time.monotonic() + START_SECONDS
    while run.coordinator is None:
        if started.poll() is not None or time.monotonic() > deadline:
            raise PatchlakeError(f"the coordinator did not start; {run.log} says: {run.last_line or 'nothing'}")
        time.sleep(0.05)
