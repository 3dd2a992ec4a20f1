"""`patchlake cancel`: end a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

from patchlake.cluster import coordinator_job as jobs
from patchlake.flows.control import records
from patchlake.flows.control.exit import STOPPED
from patchlake.flows.control.reap import reap_run
from patchlake.flows.control.records import Ended, RunRecord
from patchlake.tasks.errors import PatchlakeError

LOOK_SECONDS = 0.3


def cancel(record: RunRecord, *, force: bool = False) -> Iterator[str]:
    """End a run and yield what was done, a line each; returns when it is gone.

    The first time it drains: units in flight are committed, and a run of the same recipe continues from there. The
    second time, or with `force`, it is killed and cleaned up after.
    """
    state = record.state
    if state == "dead":
        yield f"run {record.run_id} is dead already; `patchlake reap` cleans up after it"
        return
    if state not in ("queued", "running"):
        yield f"run {record.run_id} is over already: {state}"
        return
    mark = record.folder / "cancelled"
    force = force or mark.exists()
    mark.touch()
    _signal(record, force=force)
    if not force and state == "running":
        yield f"run {record.run_id} ends its units in flight; `patchlake cancel {record.run_id}` again kills it"
    _wait(record)
    if record.ended is None:  # it was killed, or never started
        if state == "running":
            yield from reap_run(record)
        record.write("ended", Ended(state="cancelled", exit_code=STOPPED))
    for job_id in jobs.cancel_named(records.name_of(record.run_id)):
        yield f"job {job_id} cancelled"
    yield f"run {record.run_id} is gone: {record.state}"


def _signal(record: RunRecord, *, force: bool) -> None:
    """Signal the coordinator to end, wherever it runs."""
    request, process = record.request, record.coordinator
    if request.job_id is not None:
        jobs.end_job(str(request.queue), request.job_id, force=force)
    elif process is not None and process.is_here:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL if force else signal.SIGTERM)
    else:
        where = process.host if process else "a process that has not started yet"
        raise PatchlakeError(f"run {record.run_id} is on {where}: cancel it there")


def _wait(record: RunRecord) -> None:
    """Wait until the run is over and its process, where it was on this machine, is gone."""
    process = record.coordinator
    while record.state in ("queued", "running") or (process and process.is_here and process.is_alive):
        time.sleep(LOOK_SECONDS)
        process = process or record.coordinator
