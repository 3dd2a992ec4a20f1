"""All private and undocumented names of Dask and dask-jobqueue that the cluster uses: what to check at an upgrade.

Seen in distributed 2026.8.0, dask 2026.8.0 and dask-jobqueue 0.9.0. Each function says what there is no public way for.
"""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any, TypeVar

import dask
from dask.utils import key_split
from distributed import Client, Future
from distributed.core import Status
from distributed.scheduler import DEFAULT_EXTENSIONS
from distributed.spans import SpansSchedulerExtension

R = TypeVar("R")

WORKER_KILLED_FOR_MEMORY = "worker-restart-memory"
"""Topic on which a nanny says that it ended its worker, which took more memory than it may."""
ALL_EVENTS = "all"
"""Topic on which the scheduler says, among others, which tasks a worker held that was removed."""


class _Spans(SpansSchedulerExtension):
    """Dask's, which would keep a dict for every submitted item, to say that it is a future."""

    def observe_tasks(self, tss: Any, code: Any, span_metadata: Any) -> Any:
        return super().observe_tasks(tss, code, {"collections": []})


def scheduler_extensions() -> dict[str, Any]:
    """Return a scheduler's extensions, as Dask chooses them where none are given, with spans that don't grow."""
    found = {**DEFAULT_EXTENSIONS, "spans": _Spans}
    if not dask.config.get("distributed.scheduler.work-stealing"):
        del found["stealing"]
    return found


def forget_key_names() -> None:
    """Have Dask forget the last 100,000 keys, which it remembers by their first words."""
    key_split.cache_clear()


def fetch(client: Client, futures: list[Future[R]]) -> concurrent.futures.Future[list[R]]:
    """Start to fetch results. What is lost with its worker meanwhile is computed again, once there is a worker.

    Waiting in `client.gather` or `Future.result` instead may never end, where the caller has to replace workers.
    """
    loop: Any = client.loop
    return asyncio.run_coroutine_threadsafe(client.gather(futures, asynchronous=True), loop.asyncio_loop)


async def identity(client: Client) -> dict[str, Any]:
    """Return what the scheduler says of itself and of all workers; `scheduler_info()` names at most a few."""
    scheduler = client.scheduler
    if scheduler is None:
        raise RuntimeError("the client is closed")
    found: dict[str, Any] = await scheduler.identity(n_workers=-1)
    return found


def forget_topic(client: Client, topic: str) -> None:
    """Leave a topic and drop its handlers, which `unsubscribe_topic` keeps."""
    client.unsubscribe_topic(topic)
    client._event_handlers.pop(topic, None)


async def forget_workers(deployed: Any, names: list[str]) -> None:
    """Have Dask's cluster see that workers are not there, so that it starts others."""
    for name in names:
        deployed.worker_spec.pop(name, None)
        deployed.workers.pop(name, None)


async def submit_jobs(cluster: Any, count: int) -> None:
    """Submit jobs until there are so many; a refusal is an error now, which scale() and adapt() would only log.

    Raises OSError, RuntimeError or ValueError, with what the queue says.
    """
    while len(cluster.worker_spec) < count:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        await cluster._correct_state()
    except (OSError, RuntimeError, ValueError):
        for job in cluster._created:
            if job.status == Status.created:
                job.status = Status.failed  # or closing the cluster trips over it
        raise


async def submit_command(job: Any, command: str) -> str:
    """Submit a job of dask-jobqueue that runs another command than a worker's, and return its id.

    The job's class writes its queue's header. Raises OSError, RuntimeError or ValueError, with what the queue says.
    """
    job._command_template = command
    with job.job_file() as script:
        return str(job._job_id_from_submit_output(await job._submit_job(script)))
