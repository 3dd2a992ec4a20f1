"""One call of a function over items: a bounded window of tasks, outcomes in the order in which they end."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from distributed import Future, KilledWorker

from patchlake.cluster.dask_internals import forget_key_names
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.flight import Flight
from patchlake.cluster.replies import replies_of
from patchlake.cluster.spec import Resources
from patchlake.cluster.supervise import Patience
from patchlake.cluster.window import TASKS_PER_SLOT
from patchlake.cluster.worker.perform import Reply, name_of, perform

T = TypeVar("T")
R = TypeVar("R")

Retry = Literal["worker_left", "handed_back", "alone"]
"""Why an item is started again: its worker went away, or left before it started it; or it is tried alone."""


class NotYet(Enum):
    """What items yield in place of one that is not ready: they are asked again, a moment later."""

    NOT_YET = "not yet"


NOT_YET = NotYet.NOT_YET
MOST_CUTS = 3
"""How often an item may be cut off by the end of its job, or by preemption, before the run gives up."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """What came of one item: a result, or the error that prevented it."""

    item: T
    result: R | None = None
    error: BaseException | None = None
    worker: str = ""
    """Address of the worker that did it; empty if its workers died."""
    seconds: float = 0.0
    """How long that took there."""
    idle_seconds: float = 0.0
    """How long the worker had had nothing to do when it started: since its last item, at first since its start."""

    @property
    def ok(self) -> bool:
        """Whether there is a result (which may be None) rather than an error."""
        return self.error is None


def ignore(item: object, why: Retry) -> None:
    """Do nothing about an item that is started again."""


@dataclass(frozen=True, kw_only=True)
class ItemOptions(Generic[T]):
    """How a function is called over items."""

    resources: Resources | None = None
    """What each item holds while it runs."""
    key: Callable[[T], str] | None = None
    """Returns a name for an item, for Dask's dashboard."""
    alone: bool = False
    """Whether each item has the cluster to itself from the start."""
    on_retry: Callable[[T, Retry], None] = ignore
    """Called with each item that is started again."""

    @property
    def needs_gpu(self) -> bool:
        """Whether items need a GPU: then they go first where they may run, since other workers do the others."""
        return "GPU" in (self.resources or {})


class _Task(NamedTuple):
    """An item on its way; `alone` says that nothing else runs on the cluster meanwhile."""

    item: Any
    future: Future[Reply]
    alone: bool


class ItemRun(Generic[T, R]):
    """The state of one `Cluster.run`.

    When a worker dies, Dask blames every task it held, so after a few deaths innocent items may be condemned
    beside the one that kills. Suspects are therefore tried again at the end, one by one, with the cluster to
    themselves: only what kills workers alone becomes an error.
    """

    def __init__(
        self, flight: Flight, function: Callable[[T], R], items: Iterable[T | NotYet], options: ItemOptions[T]
    ) -> None:
        forget_key_names()
        self._flight = flight
        self._window = flight.window
        self._function = function
        self._options = options
        self._items = iter(() if options.alone else items)
        self._exhausted = False
        """Whether the last item was taken; some may still come back from workers that leave."""
        self._returned: deque[T] = deque()
        """Items that a leaving worker handed back."""
        self._suspects: deque[Any] = deque(items if options.alone else ())
        """Items to try alone."""
        self._in_flight: dict[str, _Task] = {}
        self._ended: deque[str] = deque()
        """Names of tasks that ended, not looked at yet; filled by Dask's callback thread."""
        patience_seconds = flight.connection.spec.patience_seconds
        self._patience = Patience(patience_seconds, flight.workers, options.resources)

    def outcomes(self) -> Iterator[Outcome[T, R]]:
        """Yield the outcomes; abandoning the iterator abandons the items in flight."""
        if self._flight.stopping.is_set():
            return
        self._flight.supervisor.require(self._options.resources)
        try:
            while tasks := self._wait():
                for outcome in self._settle(tasks):
                    self._refill()
                    yield outcome
        finally:
            self._abandon()

    def _wait(self) -> list[_Task]:
        """Block until some tasks ended and return them; an empty list means that the run is over."""
        self._patience.renew()  # whoever took the last outcome may have taken long
        while True:
            self._flight.supervisor.look()
            self._report_moved()
            self._refill()
            if ended := self._take_ended():
                return ended
            if not self._in_flight:
                if self._flight.stopping.is_set() or not (self._has_more() or self._suspects):
                    return []
                if self._suspects and not self._has_more():
                    self._try_alone()
                else:
                    self._pause()
            self._check_cluster()

    def _take_ended(self) -> list[_Task]:
        """Wait a second at most for tasks to end, and take them."""
        with self._window.changed:
            if not self._ended and self._in_flight:
                self._window.changed.wait(1.0)
            return [self._in_flight.pop(self._ended.popleft()) for _ in range(len(self._ended))]

    def _has_more(self) -> bool:
        return bool(self._returned) or not self._exhausted

    def _refill(self) -> None:
        """Submit items while there is room in this run's share and in the cluster's window."""
        while self._has_more() and not self._flight.stopping.is_set():
            name = uuid.uuid4().hex
            if not self._admit(name):
                return
            try:
                item = self._returned.popleft() if self._returned else next(self._items)
            except StopIteration:
                self._exhausted = True
                self._window.leave(name)
            except BaseException:
                self._window.leave(name)
                raise
            else:
                if item is NOT_YET:
                    self._window.leave(name)
                    return
                self._submit(name, item)

    def _admit(self, name: str) -> bool:
        """Take a place in the window, if this run and its share of workers have one left."""
        resources, needs_gpu = self._options.resources, self._options.needs_gpu
        if len(self._in_flight) >= TASKS_PER_SLOT * self._flight.workers.most_slots(resources):
            return False
        limit = TASKS_PER_SLOT * self._flight.workers.most_slots(resources if needs_gpu else None)
        return self._window.admit(name, self, limit, "GPU" if needs_gpu else "")

    def _submit(self, name: str, item: T, *, alone: bool = False) -> None:
        # Dask keeps a group for each first word of keys: without a common one the scheduler would grow with each key.
        options = self._options
        key = "-".join([name_of(self._function), *([options.key(item)] if options.key else []), name])
        future = self._flight.connection.client.submit(
            perform,
            self._function,
            item,
            self._flight.session,
            self._flight.slowest_seconds(self._function),
            key=key,
            resources=options.resources,
            priority=int(options.needs_gpu),
            pure=False,
        )
        self._in_flight[name] = _Task(item, future, alone)
        future.add_done_callback(lambda _: self._note_end(name))

    def _note_end(self, name: str) -> None:
        """Note that a task ended (in Dask's callback thread)."""
        self._ended.append(name)
        self._window.leave(name)

    def _try_alone(self) -> None:
        """Submit one suspect, once nothing else is in flight on the cluster."""
        if not self._window.claim(self):
            return self._pause()
        name = uuid.uuid4().hex
        self._window.admit(name, self, 1)
        self._submit(name, self._suspects.popleft(), alone=True)

    def _report_moved(self) -> None:
        """Report the items in flight whose worker went away: Dask starts them elsewhere, silently."""
        for name in self._flight.incidents.take_moved(self._in_flight):
            self._options.on_retry(self._in_flight[name].item, "worker_left")

    def _pause(self) -> None:
        with self._window.changed:
            self._window.changed.wait(0.2)

    def _settle(self, tasks: list[_Task]) -> Iterator[Outcome[T, R]]:
        """Turn ended tasks into outcomes; suspects and items handed back are kept for later."""
        self._patience.renew()
        replies = replies_of(self._flight.connection.client, [task.future for task in tasks], self._look)
        for task, reply in zip(tasks, replies, strict=True):
            if reply.worker:
                self._flight.supervisor.note_worker()
            if task.alone:
                self._window.yield_claim(self)
            if isinstance(reply.error, KilledWorker) and not task.alone:
                self._options.on_retry(task.item, "alone")
                self._suspects.append(task.item)
            elif reply.handed_back:
                self._options.on_retry(task.item, "handed_back")
                self._returned.append(task.item)
            else:
                self._flight.note_seconds(self._function, reply.seconds)
                outcome: Outcome[T, R] = outcome_of(task.item, reply)
                if not reply.skipped:
                    yield outcome

    def _look(self) -> None:
        """Look after the workers while replies are fetched."""
        self._flight.supervisor.look()
        self._check_cluster()

    def _check_cluster(self) -> None:
        """Raise if there has been no worker for this run's items for a while, or none lives long enough for one."""
        for name, cuts in list(self._flight.incidents.cuts.items()):
            if cuts >= MOST_CUTS and name in self._in_flight:
                raise ClusterError(
                    f"An item was cut off {cuts} times by the end of its job or by preemption: ask for a longer "
                    "cluster.walltime, or make the units smaller (units.slots); then run again, it resumes."
                )
        self._patience.check()

    def _abandon(self) -> None:
        """Release what is still in flight."""
        self._window.yield_claim(self)
        for name, task in self._in_flight.items():
            self._window.leave(name)
            task.future.release()


def outcome_of(item: T, reply: Reply) -> Outcome[T, Any]:
    """Return what a reply says of its item; raises ClusterError if its worker could not be set up."""
    if reply.setup_error:
        raise ClusterError(
            f"The setup of worker {reply.worker}, which joined later, failed: {reply.setup_error}. "
            "Expected it to pass as on the first workers; correct what it names and run again."
        )
    if reply.error is not None and reply.trace:
        reply.error.add_note(f"On worker {reply.worker}:\n{reply.trace}")
    return Outcome(item, reply.result, reply.error, reply.worker, reply.seconds, reply.idle_seconds)
