"""`patchlake run --detach`: the coordinator goes to the background, or becomes a job of its workers' queue."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from patchlake.cluster import coordinator_job as jobs
from patchlake.cluster.kinds.jobqueue import QueueSpec
from patchlake.flows.control import records
from patchlake.flows.control.home import RUN_VARIABLE
from patchlake.flows.control.records import Request, RunRecord
from patchlake.flows.load import cluster_spec
from patchlake.tasks.errors import PatchlakeError
from patchlake.tasks.lake.lock import refuse_if_held
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage.location import Location

START_SECONDS = 60.0


def detach(recipe: Recipe, path: str, overrides: Sequence[str], wait_seconds: float, *words: str) -> str:
    """Start a coordinator that outlives this process and its terminal, and return its run id.

    The recipe has been checked; `words` are further options of `run`. Raises LockedError if another run owns the lake,
    unless `wait_seconds` says to wait for it.
    """
    lake = Location(recipe.lake) / recipe.name
    if not wait_seconds:
        refuse_if_held(lake)
    record, spec = RunRecord(records.new_id()), cluster_spec(recipe)
    sets = [word for override in overrides for word in ("--set", override)]
    path = os.path.abspath(path)
    command = ["-P", "-m", "patchlake.flows", "run", path, *sets, "--run-id", record.run_id]
    command += ["--wait", str(wait_seconds), *words]
    env = {RUN_VARIABLE: record.run_id, "PATCHLAKE_HOME": str(records.home().parent), "PYTHONUNBUFFERED": "1"}
    if not isinstance(spec, QueueSpec):
        record.write("asked", Request(recipe=path, overrides=overrides, lake=str(lake), detached=True))
        _to_background(record, [sys.executable, *command], env)
        return record.run_id
    record.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    job_id = jobs.submit(
        spec, records.name_of(record.run_id), [spec.python or sys.executable, *command], record.log, env
    )
    request = Request(recipe=path, overrides=overrides, lake=str(lake), detached=True, queue=spec.kind, job_id=job_id)
    record.write("asked", request)
    return record.run_id


def _to_background(record: RunRecord, command: list[str], env: dict[str, str]) -> None:
    """Start the coordinator in a session of its own, and wait until it has recorded itself."""
    with record.log.open("ab") as log:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **env}
        )
    deadline = time.monotonic() + START_SECONDS
    while record.coordinator is None:
        if started.poll() is not None or time.monotonic() > deadline:
            said = record.last_line or "nothing"
            raise PatchlakeError(f"the coordinator did not start; its log {record.log} ends with: {said}")
        time.sleep(0.05)
