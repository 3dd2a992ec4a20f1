"""`patchlake reap`: clean what dead coordinators left. What lives is not touched; a second time there is nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from obstore.exceptions import BaseError

from patchlake.cluster import coordinator_job as jobs
from patchlake.flows.control import records
from patchlake.flows.control.records import Ended, Run, known_runs
from patchlake.tasks.lake import lock as locks
from patchlake.tasks.lake.layout import STAGE
from patchlake.tasks.lake.shards import clear_stage
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.process_identity import start_of

END_SECONDS = 5.0
"""How long processes may take to end by themselves."""


def reap(lake: Location | None = None) -> Iterator[str]:
    """Clean after all dead runs, or those of a lake, and yield what was done, a line each."""
    for run in known_runs():
        if run.state == "dead" and run.ended is None and (lake is None or run.asked.lake == str(lake)):
            try:
                yield from reap_run(run)
            except (OSError, BaseError) as error:  # one lake that is away must not keep others from being cleaned
                why = f"{type(error).__name__}: {str(error)[:200]}"
                yield f"run {run.run_id}: {run.asked.lake} can't be cleaned now ({why})"
                continue
            if run.asked.detached:
                run.write("ended", Ended(state="dead", exit_code=-signal.SIGKILL))
            else:
                run.forget()
    if lake is not None:  # its coordinator may have been written down elsewhere, or nowhere
        for owner in locks.owners(lake).values():
            if not owner.is_alive:
                yield from _end_leftovers(owner.run_id)
        yield from _clean_lake(lake, set())


def reap_run(run: Run) -> Iterator[str]:
    """Clean after one run that is dead: its jobs, processes, lock, uncommitted shards, Prefect runs."""
    yield from _end_leftovers(run.run_id)
    yield from _clean_lake(Location(run.asked.lake), {run.run_id})


def _end_leftovers(run_id: str) -> Iterator[str]:
    for job_id in jobs.cancel_named(records.name_of(run_id)):
        yield f"run {run_id}: job {job_id} cancelled"
    yield from _end_processes(run_id)
    yield from _crash_prefect_runs(run_id)


def _end_processes(run_id: str) -> Iterator[str]:
    """End this user's processes on this machine that bear the run's mark."""
    found = processes_of(run_id)
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid, start in found.items():
            if start_of(pid) == start:
                with suppress(ProcessLookupError):
                    os.kill(pid, sent)
        deadline = time.monotonic() + END_SECONDS
        while any(start_of(pid) == start for pid, start in found.items()) and time.monotonic() < deadline:
            time.sleep(0.05)
    for pid in found:
        yield f"run {run_id}: process {pid} ended"


def processes_of(run_id: str) -> dict[int, int]:
    """Return pid -> start of this user's processes that inherited the run's mark, but for those that ask."""
    mark, found, own = f"{records.VARIABLE}={run_id}".encode(), {}, _ancestors()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or (pid := int(folder.name)) in own:
            continue
        with suppress(OSError):
            mine, start = folder.stat().st_uid == os.getuid(), start_of(pid)
            if mine and start and mark in (folder / "environ").read_bytes().split(b"\0"):
                found[pid] = start
    return found


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        with suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text()
            pid = int(text.rpartition(")")[2].split()[1])
    return found


def _clean_lake(lake: Location, known_dead: set[str]) -> Iterator[str]:
    """Remove dead owners' locks and the shards that nobody committed; nothing where a living run owns the lake."""
    dead = locks.remove_dead(lake, known_dead)
    for owner in dead:
        yield f"{lake}: lock of {owner} removed"
    if not lake.is_local or not (lake.path / STAGE).exists():
        return
    with suppress(locks.LockedError), locks.hold(lake, f"reap-{records.new_id()}"):
        clear_stage(lake)
        yield f"{lake}: uncommitted shards removed"


def _crash_prefect_runs(run_id: str) -> Iterator[str]:
    """Set the run's flow and task runs that are not over to Crashed, on the server that PREFECT_API_URL names."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType
    from prefect.states import Crashed

    tagged = filters.FlowRunFilter(tags=filters.FlowRunFilterTags(all_=[records.name_of(run_id)]))
    going = [kind for kind in StateType if kind not in TERMINAL_STATES]
    crashed: State[None] = Crashed(message="Its coordinator is dead; `patchlake reap` said so.")
    try:
        with get_client(sync_client=True) as client:
            state = filters.TaskRunFilterState(type=filters.TaskRunFilterStateType(any_=going))
            tasks = client.read_task_runs(flow_run_filter=tagged, task_run_filter=filters.TaskRunFilter(state=state))
            for task in tasks:
                client.set_task_run_state(task.id, crashed, force=True)
                yield f"run {run_id}: Prefect task run {task.name} set to Crashed"
            for flow in client.read_flow_runs(flow_run_filter=tagged):
                if flow.state is None or not flow.state.is_final():
                    client.set_flow_run_state(flow.id, crashed, force=True)
                    yield f"run {run_id}: Prefect flow run {flow.name} set to Crashed"
    except HTTPError as error:
        yield f"run {run_id}: its Prefect runs stay as they are, {PREFECT_API_URL.value()} does not answer ({error})"
