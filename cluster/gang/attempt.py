"""One attempt of a gang: its ranks are started together, followed, and killed together."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import Future
from distributed.comm.addressing import get_address_host

from patchlake.cluster.dask_internals import forget_topic
from patchlake.cluster.errors import GangStopped
from patchlake.cluster.flight import Flight
from patchlake.cluster.gang.rank import Rank, RankEnd, free_port, reap, run_rank
from patchlake.cluster.spec import Resources

PRIORITY = 10
POLL_SECONDS = 0.2
GRACE_SECONDS = 2.0
"""After the first rank's failure, how long the others may take to report their own error."""
FETCH_SECONDS = 30.0
REAP_SECONDS = 10.0
RESTART_SECONDS = 30.0
"""A nanny takes seconds to give up asking a stopped worker, and kills it then."""

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Program:
    """What every rank runs, and how long it may be silent."""

    module: str
    payload: dict[str, Any]
    """Its stdin, as JSON."""
    resources: Resources | None
    """What a rank holds of its worker."""
    group_timeout_seconds: float
    """How long torch.distributed waits for a rank."""
    stall_timeout_seconds: float
    """How long all ranks together may print nothing."""


class AttemptFailed(Exception):
    """One attempt failed; the next may succeed."""


def check_stop(flight: Flight) -> None:
    """Raise GangStopped if the cluster's run is stopping."""
    if flight.stopping.is_set():
        raise GangStopped("The gang was stopped with its run: run again, it resumes from its checkpoint.")


class Attempt:
    """Ranks that were started together."""

    def __init__(self, flight: Flight, program: Program, addresses: list[str], on_event: OnEvent) -> None:
        self._flight = flight
        self._client = flight.connection.client
        self._program = program
        self._addresses = addresses
        """Of workers; rank i runs on the i-th."""
        self._on_event = on_event
        self._topic = f"patchlake-gang-{uuid.uuid4().hex}"
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._futures: list[Future[RankEnd]] = []
        self._ends: dict[int, RankEnd] = {}
        self._num_started = 0
        self._last_line = time.monotonic()

    def result(self) -> dict[str, Any]:
        """Start the ranks, follow them to their end and return rank 0's result; raises AttemptFailed at any trouble."""
        self._client.subscribe_topic(self._topic, lambda event: self._lines.put(event[1]))
        # Ranks must meet: let other tasks drain first, and let none slip in until all ranks have started.
        while not self._flight.window.claim(self):
            check_stop(self._flight)
            time.sleep(POLL_SECONDS)
        port = self._fetch(self._pin(free_port, 0))
        for number in range(len(self._addresses)):
            rank = self._rank(number, port)
            self._futures.append(self._pin(run_rank, number, rank, resources=self._program.resources))
        while len(self._ends) < len(self._futures):
            self._look()
            time.sleep(POLL_SECONDS)
        self._pass_on_lines()
        if self._ends[0].result is None:
            raise AttemptFailed('rank 0 ended well, but printed no line {"event": "result", ...}')
        return self._ends[0].result

    def _rank(self, number: int, port: int) -> Rank:
        return Rank(
            module=self._program.module,
            payload=self._program.payload,
            rank=number,
            world_size=len(self._addresses),
            master_address=get_address_host(self._addresses[0]),
            master_port=port,
            group_timeout_seconds=self._program.group_timeout_seconds,
            topic=self._topic,
        )

    def _pin(self, function: Callable[..., Any], number: int, *args: Any, **options: Any) -> Future[Any]:
        return self._client.submit(
            function,
            *args,
            workers=[self._addresses[number]],
            key=f"{function.__name__}-{number}-{uuid.uuid4().hex}",
            pure=False,
            priority=PRIORITY,
            **options,
        )

    def _fetch(self, future: Future[Any]) -> Any:
        """Return a result; its worker may die right now, and then the task would never end."""
        try:
            return future.result(timeout=FETCH_SECONDS)
        except Exception as error:
            raise AttemptFailed(f"{future.key}: {error!r}") from error

    def _look(self) -> None:
        """Check on the ranks; raise AttemptFailed at the first trouble."""
        self._pass_on_lines()
        check_stop(self._flight)
        if any(end.returncode != 0 for end in self._collect()):
            self._fail()
        if gone := set(self._addresses) - set(self._flight.workers.addresses()):
            raise AttemptFailed(f"worker {', '.join(sorted(gone))} died")
        if time.monotonic() - self._last_line > self._program.stall_timeout_seconds:
            raise AttemptFailed(f"no rank printed a line for {self._program.stall_timeout_seconds:g} s")

    def _collect(self) -> list[RankEnd]:
        for number, future in enumerate(self._futures):
            if number not in self._ends and future.done():
                self._ends[number] = self._fetch(future)
        return list(self._ends.values())

    def _fail(self) -> None:
        """Raise AttemptFailed with the errors of all ranks that failed."""
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and len(self._collect()) < len(self._futures):
            time.sleep(POLL_SECONDS)
        self._pass_on_lines()
        bad = [end for end in self._ends.values() if end.returncode != 0]
        raise AttemptFailed("\n".join(f"rank {e.rank} ended with {e.returncode}: {e.stderr.strip()}" for e in bad))

    def _pass_on_lines(self) -> None:
        while not self._lines.empty():
            line = self._lines.get()
            self._last_line = time.monotonic()
            if line["event"] == "rank_started":
                self._num_started += 1
                if self._num_started == len(self._addresses):
                    self._flight.window.yield_claim(self)
            else:
                self._on_event(line)

    def kill(self) -> None:
        """Leave no child: a task without its future kills its own; a worker that can't is restarted."""
        self._flight.window.yield_claim(self)
        for future in self._futures:
            future.cancel()
        there = set(self._flight.workers.addresses())
        reaping = {
            address: self._pin(reap, number, self._topic, REAP_SECONDS)
            for number, address in enumerate(self._addresses)
            if address in there
        }
        deadline = time.monotonic() + REAP_SECONDS
        while not all(future.done() for future in reaping.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        alive = set(self._flight.workers.addresses())
        stuck = [address for address, future in reaping.items() if address in alive and not self._reaped(future)]
        if stuck:
            self._client.restart_workers(stuck, timeout=RESTART_SECONDS, raise_for_error=False)
        for future in reaping.values():
            future.cancel()
        forget_topic(self._client, self._topic)

    def _reaped(self, future: Future[bool]) -> bool:
        try:
            return future.done() and bool(self._fetch(future))
        except AttemptFailed:
            return False
