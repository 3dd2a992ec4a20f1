"""`patchlake status`, `logs` and `cancel`: what goes on, and how it is ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from patchlake.cluster import coordinator_job as jobs
from patchlake.flows.control import records
from patchlake.flows.control.reap import reap_run
from patchlake.flows.control.records import Ended, Run
from patchlake.tasks.errors import PatchlakeError

LOOK_SECONDS = 0.3
COLUMNS = ("run", "state", "recipe", "lake", "host", "since", "last line")


def status_lines(chosen: list[Run]) -> Iterator[str]:
    """Yield a table of runs, as text in columns."""
    rows = [COLUMNS, *(_row(run) for run in chosen)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _row(run: Run) -> tuple[str, ...]:
    asked, process = run.asked, run.coordinator
    host = process.host if process else f"{asked.queue} job {asked.job_id}" if asked.job_id else "-"
    since = datetime.fromtimestamp(run.started).astimezone().isoformat(" ", "seconds")
    return run.run_id, run.state, asked.recipe, asked.lake, host, since, run.last_line


def follow(run: Run, *, to_the_end: bool) -> None:
    """Print a run's log; go on until the run is over, if so asked."""
    if not run.asked.detached:
        raise PatchlakeError(f"run {run.run_id} is not detached: what it says is on its own terminal")
    place = 0
    while True:
        over = not to_the_end or run.state not in ("queued", "running")  # asked first: what it said last is read after
        with suppress(FileNotFoundError), run.log.open("rb") as file:
            file.seek(place)
            text = file.read()
            place += len(text)
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        if over:
            return
        time.sleep(LOOK_SECONDS)


def cancel(run: Run, *, force: bool = False) -> Iterator[str]:
    """End a run and yield what was done; returns when it is gone.

    At first it drains: units in flight are committed, and a run of the same recipe goes on from there. A second time,
    or by force, it is killed and what it leaves is cleaned.
    """
    asked, state = run.asked, run.state
    if state == "dead":
        yield f"run {run.run_id} is dead already; `patchlake reap` cleans up after it"
        return
    if state not in ("queued", "running"):
        yield f"run {run.run_id} is over already: {state}"
        return
    mark = run.folder / "cancelled"
    force = force or mark.exists()
    mark.touch()
    process = run.coordinator
    if asked.job_id is not None:
        jobs.end_job(str(asked.queue), asked.job_id, force=force)
    elif process is not None and process.is_here:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL if force else signal.SIGTERM)
    else:
        where = process.host if process else "a process that has not started yet"
        raise PatchlakeError(f"run {run.run_id} is on {where}: cancel it there")
    if not force and state == "running":
        yield f"run {run.run_id} ends its units in flight; `patchlake cancel {run.run_id}` again kills it"
    process = process or run.coordinator
    while run.state in ("queued", "running") or (process and process.is_here and process.is_alive):
        time.sleep(LOOK_SECONDS)
    if run.ended is None:  # it was killed, or never started
        if state == "running":
            yield from reap_run(run)
        run.write("ended", Ended(state="cancelled", exit_code=records.STOPPED))
    for job_id in jobs.cancel_named(records.name_of(run.run_id)):
        yield f"job {job_id} cancelled"
    yield f"run {run.run_id} is gone: {run.state}"
