"""A gang: one program on several workers at once, all or none of them (torch.distributed)."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Lock

from patchlake.cluster.connect import Cluster
from patchlake.cluster.errors import ClusterError, GangError
from patchlake.cluster.gang.attempt import POLL_SECONDS, Attempt, AttemptFailed, OnEvent, Program, check_stop
from patchlake.cluster.spec import PATIENCE_SECONDS, Resources

LOCK = "patchlake-gang"


def run_gang(
    cluster: Cluster,
    module: str,
    payload: dict[str, Any],
    *,
    ranks: int | None = None,
    resources: Resources | None = None,
    on_event: OnEvent,
    group_timeout_seconds: float = 60,
    stall_timeout_seconds: float = 600,
    max_restarts: int = 3,
) -> dict[str, Any]:
    """Run `python -m module` as ranks on workers of their own and return rank 0's last result line.

    Each rank reads the payload as JSON from stdin, finds RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
    MASTER_PORT and PATCHLAKE_GROUP_TIMEOUT_SECONDS in its environment, and prints JSON lines {"event": ...};
    they go to `on_event` with their rank, in this thread. When a rank or its worker dies, fails, or all are
    silent for `stall_timeout_seconds`, all are killed and all start again: the program resumes from its own
    checkpoint. One gang runs at a time. By default there is one rank per worker that offers the resources.
    """
    cluster.require(resources)
    program = Program(
        module=module,
        payload=payload,
        resources=resources,
        group_timeout_seconds=group_timeout_seconds,
        stall_timeout_seconds=stall_timeout_seconds,
    )
    ranks_wanted = ranks or max(len(cluster.workers(resources)), cluster.num_expected(resources))
    with _one_at_a_time(cluster):
        for number in range(max_restarts + 1):
            addresses = _choose_workers(cluster, ranks_wanted, resources, may_shrink=ranks is None)
            attempt = Attempt(cluster.flight, program, addresses, on_event)
            on_event({"event": "gang_started", "attempt": number, "workers": addresses})
            try:
                return attempt.result()
            except AttemptFailed as error:
                failure = str(error)
                on_event({"event": "gang_failed", "attempt": number, "message": failure})
            finally:
                attempt.kill()
    raise GangError(
        f"{module} failed {max_restarts + 1} times on {ranks_wanted} ranks; expected one attempt to succeed. "
        f"Correct what the last attempt says, then run again, it resumes:\n{failure}"
    )


@contextmanager
def _one_at_a_time(cluster: Cluster) -> Iterator[None]:
    """Hold the gang lock; it frees itself about 40 s after its holder dies."""
    lock = Lock(LOCK, scheduler_rpc=cluster.client.scheduler, loop=cluster.client.loop)
    while not lock.acquire(timeout=1):
        check_stop(cluster.flight)
    try:
        yield
    finally:
        lock.release()


def _choose_workers(cluster: Cluster, ranks: int, resources: Resources | None, *, may_shrink: bool) -> list[str]:
    """Choose workers for an attempt; those that are restarting are waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := sorted(cluster.workers(resources))) < ranks:
        check_stop(cluster.flight)
        may_come = cluster.num_workers < cluster.num_expected() or cluster.spec.more_may_come
        if not may_come or time.monotonic() > deadline:
            if may_shrink and found:
                break
            raise ClusterError(
                f"{ranks} ranks need {ranks} workers that offer {resources or 'a thread'}, but there are "
                f"{len(found)}: ask for fewer ranks, or for more workers in cluster.workers or cluster.gpus."
            )
        time.sleep(POLL_SECONDS)
    return found[:ranks]
