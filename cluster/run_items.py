"""One run of a function over items: a bounded window of tasks, outcomes as they come."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from dask.utils import key_split
from distributed import Client, Future, KilledWorker

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import Resources
from patchlake.cluster.window import TASKS_PER_SLOT
from patchlake.cluster.worker.perform import Reply, name_of, perform

if TYPE_CHECKING:
    from patchlake.cluster.connect import Cluster

T = TypeVar("T")
R = TypeVar("R")

Retry = Literal["worker_left", "handed_back", "alone"]
"""Why an item is begun again: its worker went away, or left without having begun it; or it is tried alone."""


class NotYet(Enum):
    """What items yield in place of one that is not ready: they are asked again, a moment later."""

    NOT_YET = "not yet"


NOT_YET = NotYet.NOT_YET
MOST_CUTS = 3
"""How often an item may be cut off by the end of its job, or by preemption, before the run gives up."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """What came of one item: a result, or the error that stood in its way."""

    item: T
    result: R | None = None
    error: BaseException | None = None
    worker: str = ""
    """Address of the worker that did it; empty if its workers died."""
    seconds: float = 0.0
    """How long that took there."""
    idle_seconds: float = 0.0
    """How long the worker had had nothing to do when it began: since its last item, at first since its start."""

    @property
    def ok(self) -> bool:
        """Whether there is a result (which may be None) rather than an error."""
        return self.error is None


class _Task(NamedTuple):
    """An item on its way; `alone` says that nothing else runs on the cluster meanwhile."""

    number: int
    item: Any
    future: Future[Reply]
    alone: bool


class Run(Generic[T, R]):
    """The state of one `Cluster.run`.

    When a worker dies, Dask blames every task it held, so after four deaths innocents may be condemned
    beside a poisoned item. Suspects are therefore tried again at the end, one by one, with the cluster to
    themselves: only what kills workers alone becomes an error.
    """

    def __init__(
        self,
        cluster: Cluster,
        function: Callable[[T], R],
        items: Iterable[T | NotYet],
        *,
        resources: Resources | None,
        key: Callable[[T], str] | None,
        ordered: bool,
        alone: bool = False,
        on_retry: Callable[[T, Retry], None] | None = None,
    ) -> None:
        key_split.cache_clear()  # or Dask remembers the last 100,000 keys
        self.cluster = cluster
        self.function = function
        self.items = iter(() if alone else items)
        self.numbers = count()
        self.exhausted = False
        """Whether the last item was taken; some may still come back from workers that leave."""
        self.returned: deque[tuple[int, T]] = deque()
        self.resources = resources
        self.needs_gpu = "GPU" in (resources or {})
        """Then its items go first where they may run, since other workers do the others."""
        self.key = key
        self.ordered = ordered
        self.on_retry = on_retry or (lambda item, why: None)
        self.in_flight: dict[str, _Task] = {}
        self.ended: deque[str] = deque()
        """Keys whose tasks ended, not looked at yet; filled by Dask's callback thread."""
        self.suspects: deque[tuple[int, Any]] = deque(enumerate(items) if alone else ())
        self.held: dict[int, Outcome[T, R] | None] = {}
        """Outcomes that wait for an earlier item; None stands for one that was skipped."""
        self.turn = 0
        self.last_seen = time.monotonic()

    def outcomes(self) -> Iterator[Outcome[T, R]]:
        """Yield the outcomes; abandoning the iterator abandons the items in flight."""
        if self.cluster.stopping:
            return
        self.cluster.require(self.resources)
        try:
            while tasks := self._wait():
                for outcome in self._settle(tasks):
                    self._refill()
                    yield outcome
        finally:
            self._abandon()

    def _wait(self) -> list[_Task]:
        """Block until some tasks ended and return them; nothing means that the run is over."""
        changed = self.cluster.window.changed
        self.last_seen = time.monotonic()  # who took the last outcome may have been long about it
        while True:
            self.cluster.tender.look()
            self._tell_moved()
            self._refill()
            with changed:
                if not self.ended and self.in_flight:
                    changed.wait(1.0)
                ended = [self.in_flight.pop(self.ended.popleft()) for _ in range(len(self.ended))]
            if ended:
                return ended
            if not self.in_flight:
                if self.cluster.stopping or not (self._has_more() or self.suspects):
                    return []
                if self.suspects and (not self._has_more() or len(self.held) >= self._limit()):
                    self._try_alone()
                else:
                    self._pause()
            self._check_cluster()

    def _refill(self) -> None:
        """Submit items while there is room in this run's share and in the cluster's window."""
        while self._has_more() and not self.cluster.stopping:
            if len(self.in_flight) + len(self.held) >= self._limit():
                return
            name = uuid.uuid4().hex
            places = self.cluster.places(self.resources if self.needs_gpu else None)
            share = "GPU" if self.needs_gpu else ""
            if not self.cluster.window.admit(name, self, TASKS_PER_SLOT * places, share):
                return
            try:
                number, item = self.returned.popleft() if self.returned else (-1, next(self.items))
            except StopIteration:
                self.exhausted = True
                self.cluster.window.leave(name)
            except BaseException:
                self.cluster.window.leave(name)
                raise
            else:
                if item is NOT_YET:
                    self.cluster.window.leave(name)
                    return
                self._submit(name, next(self.numbers) if number < 0 else number, item)

    def _has_more(self) -> bool:
        return bool(self.returned) or not self.exhausted

    def _limit(self) -> int:
        return TASKS_PER_SLOT * self.cluster.places(self.resources)

    def _submit(self, name: str, number: int, item: T, *, alone: bool = False) -> None:
        # Dask keeps and shows what begins with one word as one: without it the scheduler would grow by each key.
        key = "-".join([name_of(self.function), *([self.key(item)] if self.key else []), name])
        future = self.cluster.client.submit(
            perform,
            self.function,
            item,
            self.cluster.session,
            self.cluster.slowest.get(name_of(self.function), 0.0),
            key=key,
            resources=self.resources,
            priority=int(self.needs_gpu),
            pure=False,
        )
        self.in_flight[name] = _Task(number, item, future, alone)
        future.add_done_callback(lambda _: self._end(name))

    def _end(self, name: str) -> None:
        """Take note that a task ended (in Dask's callback thread)."""
        self.ended.append(name)
        self.cluster.window.leave(name)

    def _try_alone(self) -> None:
        """Submit one suspect, once nothing else is in flight on the cluster."""
        if not self.cluster.window.claim(self):
            return self._pause()
        number, item = self.suspects.popleft()
        name = uuid.uuid4().hex
        self.cluster.window.admit(name, self, 1)
        self._submit(name, number, item, alone=True)

    def _tell_moved(self) -> None:
        """Say which items in flight were on a worker that went away: Dask begins them elsewhere, without a word."""
        for name in [name for name in self.cluster.moved if name in self.in_flight]:
            self.cluster.moved.remove(name)
            self.on_retry(self.in_flight[name].item, "worker_left")

    def _pause(self) -> None:
        with self.cluster.window.changed:
            self.cluster.window.changed.wait(0.2)

    def _settle(self, tasks: list[_Task]) -> Iterator[Outcome[T, R]]:
        """Turn ended tasks into outcomes, in order if so asked; suspects are put aside."""
        for task, reply in zip(tasks, self._replies(tasks), strict=True):
            if reply.worker:
                self.cluster.tender.note_worker()
            if task.alone:
                self.cluster.window.yield_claim(self)
            if isinstance(reply.error, KilledWorker) and not task.alone:
                self.on_retry(task.item, "alone")
                self.suspects.append((task.number, task.item))
                continue
            if reply.handed_back:
                self.on_retry(task.item, "handed_back")
                self.returned.append((task.number, task.item))
                continue
            if reply.setup_error:
                raise ClusterError(
                    f"The setup of worker {reply.worker}, which joined later, failed: {reply.setup_error}. "
                    "Expected it to pass as on the first workers; correct what it names and run again."
                )
            if reply.error is not None and reply.trace:
                reply.error.add_note(f"On worker {reply.worker}:\n{reply.trace}")
            self.cluster.note_seconds(name_of(self.function), reply.seconds)
            outcome: Outcome[T, R] = Outcome(
                task.item, reply.result, reply.error, reply.worker, reply.seconds, reply.idle_seconds
            )
            self.held[task.number] = None if reply.skipped else outcome
            yield from self._unheld(task.number)

    def _unheld(self, number: int) -> Iterator[Outcome[T, R]]:
        """Yield what may go now: the one just settled, or all whose turn has come."""
        ready = [number] if not self.ordered else _run_of(self.held, self.turn)
        self.turn += len(ready)
        for number in ready:
            outcome = self.held.pop(number)
            if outcome is not None:
                yield outcome

    def _replies(self, tasks: list[_Task]) -> list[Reply]:
        """Fetch the replies of ended tasks, together if all went well, and release their futures."""
        futures = [task.future for task in tasks]
        try:
            if all(future.status == "finished" for future in futures):
                return self._fetched(futures)
            return [self._reply(future) for future in futures]
        except ClusterError:
            raise
        except Exception:  # of one of them
            return [self._reply(future) for future in futures]
        finally:
            for future in futures:
                future.release()

    def _reply(self, future: Future[Reply]) -> Reply:
        if future.cancelled():
            raise ClusterError("The scheduler went away with the tasks in flight: run again, it resumes.")
        try:
            return self._fetched([future])[0]
        except ClusterError:
            raise
        except Exception as error:
            return Reply("", error=error)

    def _fetched(self, futures: list[Future[Reply]]) -> list[Reply]:
        """Wait for replies, and look after the workers meanwhile: one that died with its reply has to be replaced."""
        fetching = fetch(self.cluster.client, futures)
        self.last_seen = time.monotonic()
        try:
            while not concurrent.futures.wait([fetching], timeout=1.0).done:
                self.cluster.tender.look()
                self._check_cluster()
            return fetching.result()
        finally:
            fetching.cancel()

    def _check_cluster(self) -> None:
        """Raise if there has been no worker for this run's tasks for a while, or none lives long enough for one."""
        for name, cuts in self.cluster.cuts.items():
            if cuts >= MOST_CUTS and name in self.in_flight:
                raise ClusterError(
                    f"An item was cut off {cuts} times by the end of its job or by preemption: ask for a longer "
                    "cluster.walltime, or make the units smaller (units.slots); then run again, it resumes."
                )
        patience_seconds = self.cluster.spec.patience_seconds
        if self.cluster.slots_for(self.resources):
            self.last_seen = time.monotonic()
        elif time.monotonic() - self.last_seen > patience_seconds:
            raise ClusterError(
                f"No worker that offers {self.resources or 'a thread'} left for {patience_seconds:.0f} s: "
                "see the workers' logs for why they ended, then run again; it resumes."
            )

    def _abandon(self) -> None:
        """Let go of what is still in flight."""
        self.cluster.window.yield_claim(self)
        for name, task in self.in_flight.items():
            self.cluster.window.leave(name)
            task.future.release()


def fetch(client: Client, futures: list[Future[R]]) -> concurrent.futures.Future[list[R]]:
    """Begin to fetch results. What is lost with its worker meanwhile is computed again, once there is a worker.

    Waiting in `client.gather` or `Future.result` instead may be for ever, where it is for the caller to see to workers.
    """
    loop: Any = client.loop
    return asyncio.run_coroutine_threadsafe(client.gather(futures, asynchronous=True), loop.asyncio_loop)


def _run_of(numbers: dict[int, Any], start: int) -> list[int]:
    """List the consecutive numbers from start on that are there.

    >>> _run_of({3: "a", 4: "b", 6: "c"}, 3)
    [3, 4]
    """
    stop = start
    while stop in numbers:
        stop += 1
    return list(range(start, stop))
