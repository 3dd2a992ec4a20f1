"""A gang: one program on several workers at once, which stand or fall together (torch.distributed)."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Future, Lock
from distributed.comm.addressing import get_address_host

from patchlake.cluster.connect import Cluster
from patchlake.cluster.errors import ClusterError, GangError, GangStopped
from patchlake.cluster.gang.rank import Rank, RankEnd, free_port, reap, run_rank
from patchlake.cluster.spec import PATIENCE_SECONDS, Resources

LOCK = "patchlake-gang"
PRIORITY = 10
POLL_SECONDS = 0.2
GRACE_SECONDS = 2.0
"""After the first rank's failure, how long the others may take to tell their own error."""
FETCH_SECONDS = 30.0
REAP_SECONDS = 10.0
RESTART_SECONDS = 30.0
"""A nanny takes seconds to give up asking a stopped worker, and kills it then."""

OnEvent = Callable[[dict[str, Any]], None]


class _Failed(Exception):
    """One attempt ended badly; the next may go well."""


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
    ranks_wanted = ranks or max(len(cluster.workers(resources)), cluster.num_expected(resources))
    with _one_at_a_time(cluster):
        for attempt in range(max_restarts + 1):
            addresses = _choose_workers(cluster, ranks_wanted, resources, may_shrink=ranks is None)
            run = _Attempt(cluster, addresses, resources, on_event, stall_timeout_seconds)
            on_event({"event": "gang_started", "attempt": attempt, "workers": addresses})
            try:
                return run.result(module, payload, group_timeout_seconds)
            except _Failed as error:
                failure = str(error)
                on_event({"event": "gang_failed", "attempt": attempt, "message": failure})
            finally:
                run.kill()
    raise GangError(
        f"{module} failed {max_restarts + 1} times on {ranks_wanted} ranks; expected it to end at last. "
        f"Correct what the last attempt says, then run again, it resumes:\n{failure}"
    )


@contextmanager
def _one_at_a_time(cluster: Cluster) -> Iterator[None]:
    """Hold the gang lock; it frees itself about 40 s after its holder dies."""
    lock = Lock(LOCK, scheduler_rpc=cluster.client.scheduler, loop=cluster.client.loop)
    while not lock.acquire(timeout=1):
        _check_stop(cluster)
    try:
        yield
    finally:
        lock.release()


def _check_stop(cluster: Cluster) -> None:
    if cluster.stopping:
        raise GangStopped("The gang was stopped with its run: run again, it resumes from its checkpoint.")


def _choose_workers(cluster: Cluster, ranks: int, resources: Resources | None, *, may_shrink: bool) -> list[str]:
    """Pick workers anew; those that restart are waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := sorted(cluster.workers(resources))) < ranks:
        _check_stop(cluster)
        restarting = cluster.num_workers < cluster.num_expected() or cluster.spec.kind != "local"
        if not restarting or time.monotonic() > deadline:
            if may_shrink and found:
                break
            raise ClusterError(
                f"{ranks} ranks need {ranks} workers that offer {resources or 'a thread'}, but there are "
                f"{len(found)}: ask for fewer ranks, or for more workers in cluster.workers or cluster.gpus."
            )
        time.sleep(POLL_SECONDS)
    return found[:ranks]


class _Attempt:
    """Ranks that were started together."""

    def __init__(
        self,
        cluster: Cluster,
        addresses: list[str],
        resources: Resources | None,
        on_event: OnEvent,
        stall_timeout_seconds: float,
    ) -> None:
        self.cluster = cluster
        self.addresses = addresses
        self.resources = resources
        self.on_event = on_event
        self.stall_timeout_seconds = stall_timeout_seconds
        self.topic = f"patchlake-gang-{uuid.uuid4().hex}"
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.futures: list[Future[RankEnd]] = []
        self.ends: dict[int, RankEnd] = {}
        self.num_started = 0
        self.last_line = time.monotonic()

    def result(self, module: str, payload: dict[str, Any], group_timeout_seconds: float) -> dict[str, Any]:
        """Start the ranks, follow them to their end and return rank 0's result."""
        client = self.cluster.client
        client.subscribe_topic(self.topic, lambda event: self.lines.put(event[1]))
        # Ranks must meet: let go of the workers first, and let nothing slip in until all have begun.
        while not self.cluster.window.claim(self):
            _check_stop(self.cluster)
            time.sleep(POLL_SECONDS)
        port = self._fetch(self._pin(free_port, 0))
        for number in range(len(self.addresses)):
            rank = Rank(
                module=module,
                payload=payload,
                rank=number,
                world_size=len(self.addresses),
                master_address=get_address_host(self.addresses[0]),
                master_port=port,
                group_timeout_seconds=group_timeout_seconds,
                topic=self.topic,
            )
            self.futures.append(self._pin(run_rank, number, rank, resources=self.resources))
        while len(self.ends) < len(self.futures):
            self._look()
            time.sleep(POLL_SECONDS)
        self._pass_on_lines()
        if self.ends[0].result is None:
            raise _Failed('rank 0 ended well, but printed no line {"event": "result", ...}')
        return self.ends[0].result

    def _pin(self, function: Callable[..., Any], number: int, *args: Any, **options: Any) -> Future[Any]:
        return self.cluster.client.submit(
            function,
            *args,
            workers=[self.addresses[number]],
            key=f"{function.__name__}-{number}-{uuid.uuid4().hex}",
            pure=False,
            priority=PRIORITY,
            **options,
        )

    def _fetch(self, future: Future[Any]) -> Any:
        """Return a result; its worker may die right now, and then the task would wait for ever."""
        try:
            return future.result(timeout=FETCH_SECONDS)
        except Exception as error:
            raise _Failed(f"{future.key}: {error!r}") from error

    def _look(self) -> None:
        """See what has become of the ranks; raise _Failed at the first trouble."""
        self._pass_on_lines()
        _check_stop(self.cluster)
        if any(end.returncode != 0 for end in self._collect()):
            self._fail()
        if gone := set(self.addresses) - set(self.cluster.workers()):
            raise _Failed(f"worker {', '.join(sorted(gone))} died")
        if time.monotonic() - self.last_line > self.stall_timeout_seconds:
            raise _Failed(f"no rank printed a line for {self.stall_timeout_seconds:g} s")

    def _collect(self) -> list[RankEnd]:
        for number, future in enumerate(self.futures):
            if number not in self.ends and future.done():
                self.ends[number] = self._fetch(future)
        return list(self.ends.values())

    def _fail(self) -> None:
        """Raise _Failed with what every rank that ended badly had to say."""
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and len(self._collect()) < len(self.futures):
            time.sleep(POLL_SECONDS)
        self._pass_on_lines()
        bad = [end for end in self.ends.values() if end.returncode != 0]
        raise _Failed("\n".join(f"rank {e.rank} ended with {e.returncode}: {e.stderr.strip()}" for e in bad))

    def _pass_on_lines(self) -> None:
        while not self.lines.empty():
            line = self.lines.get()
            self.last_line = time.monotonic()
            if line["event"] == "rank_started":
                self.num_started += 1
                if self.num_started == len(self.addresses):
                    self.cluster.window.yield_claim(self)
            else:
                self.on_event(line)

    def kill(self) -> None:
        """Leave no child: a task without its future kills its own; a worker that can't is restarted."""
        client = self.cluster.client
        self.cluster.window.yield_claim(self)
        for future in self.futures:
            future.cancel()
        there = [address for address in self.addresses if address in self.cluster.workers()]
        reaping = {a: self._pin(reap, self.addresses.index(a), self.topic, REAP_SECONDS) for a in there}
        deadline = time.monotonic() + REAP_SECONDS
        while not all(future.done() for future in reaping.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        alive = set(self.cluster.workers())
        stuck = [address for address, future in reaping.items() if address in alive and not self._reaped(future)]
        if stuck:
            client.restart_workers(stuck, timeout=RESTART_SECONDS, raise_for_error=False)
        for future in reaping.values():
            future.cancel()
        client.unsubscribe_topic(self.topic)
        client._event_handlers.pop(self.topic, None)

    def _reaped(self, future: Future[bool]) -> bool:
        try:
            return future.done() and bool(self._fetch(future))
        except _Failed:
            return False
