"""`patchlake reap`: clean up what dead coordinators left. Living runs are not touched; a second reap does nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

from obstore.exceptions import BaseError

from patchlake.cluster import coordinator_job as jobs
from patchlake.flows.control import records, server
from patchlake.flows.control.processes import end_processes, processes_of
from patchlake.flows.control.records import Ended, RunRecord, known_runs
from patchlake.tasks.lake import lock as locks
from patchlake.tasks.lake.layout import STAGE
from patchlake.tasks.lake.shards import clear_stage
from patchlake.tasks.storage.location import Location


def reap(lake: Location | None = None) -> Iterator[str]:
    """Clean up after all dead runs, or those of one lake, and yield what was done, a line each."""
    for record in known_runs():
        if record.state == "dead" and record.ended is None and (lake is None or record.request.lake == str(lake)):
            try:
                yield from reap_run(record)
            except (OSError, BaseError) as error:  # an unreachable lake must not keep others from being cleaned
                why = f"{type(error).__name__}: {str(error)[:200]}"
                yield f"run {record.run_id}: {record.request.lake} can't be cleaned now ({why})"
                continue
            if record.request.detached:
                record.write("ended", Ended(state="dead", exit_code=-signal.SIGKILL))
            else:
                record.forget()
    if lake is not None:  # its coordinator may have been recorded on another machine, or not at all
        for owner in locks.owners(lake).values():
            if not owner.is_alive:
                yield from _end_leftovers(owner.run_id)
        yield from _clean_lake(lake, set())
    yield from _end_servers()


def _end_servers() -> Iterator[str]:
    """End the temporary Prefect servers that no run uses."""
    if any(record.state in ("queued", "running") for record in known_runs()):
        return
    for kept in server.known():
        if not kept.is_used:
            kept.end()
            yield f"temporary Prefect server at {kept.url} (process {kept.process.pid}) ended"


def reap_run(record: RunRecord) -> Iterator[str]:
    """Clean up after one dead run: its jobs, processes, lock, uncommitted shards, Prefect runs."""
    yield from _end_leftovers(record.run_id)
    yield from _clean_lake(Location(record.request.lake), {record.run_id})


def _end_leftovers(run_id: str) -> Iterator[str]:
    for job_id in jobs.cancel_named(records.name_of(run_id)):
        yield f"run {run_id}: job {job_id} cancelled"
    yield from _end_processes(run_id)
    yield from _crash_prefect_runs(run_id)


def _end_processes(run_id: str) -> Iterator[str]:
    found = processes_of(run_id)
    end_processes(found)
    for process in found:
        yield f"run {run_id}: process {process.pid} ended"


def _clean_lake(lake: Location, known_dead: set[str]) -> Iterator[str]:
    """Remove dead owners' locks and uncommitted shards; does nothing while a living run owns the lake."""
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
    crashed: State[None] = Crashed(message="Its coordinator is dead: found by `patchlake reap`.")
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
