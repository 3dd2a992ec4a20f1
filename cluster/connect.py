"""The door to a cluster: connect, run items, ask each worker, stop, close."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cached_property
from typing import Any, TypeVar

from distributed import Client
from distributed.utils import format_dashboard_link

from patchlake.cluster import performance
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import QueueSpec, SshSpec
from patchlake.cluster.resources import lack, offering, refuse
from patchlake.cluster.run_items import NotYet, Outcome, Retry, Run, fetch
from patchlake.cluster.settings import HOST
from patchlake.cluster.spec import GPU, MEMORY, AddressSpec, ClassSpec, ClusterSpec, LocalSpec, Resources
from patchlake.cluster.supervise import Tender
from patchlake.cluster.window import Window
from patchlake.cluster.worker.perform import CUT, Setup, stop_session, versions_of

T = TypeVar("T")
R = TypeVar("R")

REFRESH_SECONDS = 2.0


@contextmanager
def connect(
    spec: ClusterSpec,
    *,
    setup: Callable[[], None] | None = None,
    packages: Iterable[str] = (),
    name: str = "patchlake",
    on_start: Callable[[str | None], None] | None = None,
    performance_report: str | None = None,
) -> Iterator[Cluster]:
    """Yield the cluster that the spec describes; it starts at its first use and is closed at the end.

    `setup` runs once in each worker process, restarted ones too, before any task. A worker on which Python or one of
    the packages has another version than here is an error. Jobs of a queue get the name. `on_start` is told where the
    dashboard is, before any worker is waited for. Dask's performance report, from the start to the end of the cluster,
    is written to the file that is named for it.
    """
    cluster = Cluster(spec, setup, packages, name, on_start, performance_report)
    try:
        yield cluster
    finally:
        cluster.close()


def open_client(spec: ClusterSpec, name: str = "patchlake") -> AbstractContextManager[Client]:
    """Choose the kind of cluster; only its own libraries are imported."""
    if isinstance(spec, LocalSpec):
        from patchlake.cluster.kinds.local import open_local

        return open_local(spec)
    if isinstance(spec, QueueSpec):
        from patchlake.cluster.kinds.jobqueue import open_queue

        return open_queue(spec, name)
    if isinstance(spec, SshSpec):
        from patchlake.cluster.kinds.ssh import open_ssh

        return open_ssh(spec)
    if isinstance(spec, AddressSpec):
        from patchlake.cluster.kinds.address import open_address

        return open_address(spec)
    if isinstance(spec, ClassSpec):
        from patchlake.cluster.kinds.custom import open_class

        return open_class(spec)
    raise TypeError(f"no kind of cluster: {spec!r}")


class Cluster:
    """Workers that run functions on items; any number of threads may use it at once."""

    def __init__(
        self,
        spec: ClusterSpec,
        setup: Callable[[], None] | None = None,
        packages: Iterable[str] = (),
        name: str = "patchlake",
        on_start: Callable[[str | None], None] | None = None,
        performance_report: str | None = None,
    ) -> None:
        self.spec = spec
        self.name = name
        self.session = uuid.uuid4().hex
        """Names this use of the cluster on the workers."""
        self.window = Window()
        self.tender = Tender(self)
        self.stopping = False
        self.slowest: dict[str, float] = {}
        """Name of a function -> seconds that it took at most."""
        self.memory_kills = 0
        """How many workers were ended since they took more memory than they may."""
        self.cuts: Counter[str] = Counter()
        """Name of a task in flight -> how often its worker had to leave before its end."""
        self.moved: list[str] = []
        """Names of tasks that were on a worker when that went away."""
        self._on_start = on_start
        self._performance_report = performance_report
        self._setup = Setup(setup, versions_of(packages)) if setup or packages else None
        self._stack = ExitStack()
        self._client: Client | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._slots: dict[str, tuple[float, int]] = {}

    @property
    def started(self) -> bool:
        """Whether any process or connection exists yet."""
        return self._client is not None

    @property
    def client(self) -> Client:
        """Dask's client; asking for it starts the cluster."""
        with self._starting:
            if self._closed:
                raise ClusterError("The cluster is closed: use it inside `with connect(spec) as cluster`.")
            if self._client is None:
                self._client = self._start()
            return self._client

    def _start(self) -> Client:
        try:
            client = self._stack.enter_context(open_client(self.spec, self.name))
        except ClusterError:
            raise
        except Exception as error:
            self._stack.close()
            hint = "; try workers: 1, and a script that starts one needs a main guard" * (self.spec.kind == "local")
            raise ClusterError(
                f"The {self.spec.kind} cluster did not start: {type(error).__name__}: {error}. Expected "
                f"its workers to come up{hint}."
            ) from error
        client.subscribe_topic("worker-restart-memory", self._note_memory_kill)  # a nanny's event
        client.subscribe_topic(CUT, lambda event: self.cuts.update([event[1]["key"].rpartition("-")[2]]))
        client.subscribe_topic("all", self._note_moved)
        self._stack.callback(_leave_topic, client, "all")
        if self._performance_report is not None:
            self._stack.enter_context(performance.reporting(client, self._performance_report, self.name))
        if self._on_start is not None:
            self._on_start(self._link(client))
        if self._setup is not None:
            try:
                client.register_plugin(self._setup)
            except Exception as error:
                self._stack.close()
                raise ClusterError(
                    f"The setup of the workers failed: {error}. Expected it to pass on every worker; "
                    "correct what it names and run again."
                ) from error
        return client

    def _note_moved(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("action") == "remove-worker":
            self.moved += [str(key).rpartition("-")[2] for key in event[1]["processing-tasks"]]

    def _note_memory_kill(self, _: object) -> None:
        self.memory_kills += 1

    def close(self) -> None:
        """End what this cluster started; one that was never started costs nothing."""
        self.stop()
        with self._starting:
            self._client, self._closed = None, True
            self._stack.close()

    def stop(self) -> None:
        """Submit no more items: runs yield what is being worked on, then end. What only waits is skipped."""
        if self.stopping:
            return
        self.stopping = True
        with self.window.changed:
            self.window.changed.notify_all()
        if self._client is not None and len(self.window):
            threading.Thread(target=self._skip_waiting, args=(self._client,), daemon=True).start()

    def _skip_waiting(self, client: Client) -> None:
        with suppress(Exception):  # workers may be gone; then nothing waits on them
            client.run(stop_session, self.session, wait=False, on_error="ignore")

    def run(
        self,
        function: Callable[[T], R],
        items: Iterable[T | NotYet],
        *,
        resources: Resources | None = None,
        key: Callable[[T], str] | None = None,
        ordered: bool = False,
        alone: bool = False,
        on_retry: Callable[[T, Retry], None] | None = None,
    ) -> Iterator[Outcome[T, R]]:
        """Yield an outcome for every item, in completion order unless `ordered`; items are taken lazily.

        Where they yield NOT_YET in place of an item, they are asked again a moment later.

        An item may run more than once (its worker died), but is yielded once. An error of the function is
        an outcome. An item whose worker dies again and again, at last with the cluster to itself, is one too;
        `alone` gives each item the cluster to itself from the start; `on_retry` is told of each that is begun again.
        """
        run = Run(self, function, items, resources=resources, key=key, ordered=ordered, alone=alone, on_retry=on_retry)
        return run.outcomes()

    def each_worker(
        self, function: Callable[..., R], *args: Any, resources: Resources | None = None, skip_lost: bool = False
    ) -> dict[str, R]:
        """Run the function once on every worker (that offers the resources), at the same time.

        A worker that leaves meanwhile is an error, or with `skip_lost` is left out.
        """
        futures = {
            address: self.client.submit(
                function, *args, workers=[address], resources=resources, pure=False, priority=10,
                key=f"each_worker-{uuid.uuid4().hex}",
            )
            for address in self.workers(resources)
        }  # fmt: skip
        fetches = {address: fetch(self.client, [future]) for address, future in futures.items()}
        try:
            while not all(fetching.done() for fetching in fetches.values()):
                gone = set(fetches) - set(self.workers())
                for address in gone if skip_lost else ():
                    fetches.pop(address).cancel()
                if gone and not skip_lost:
                    raise ClusterError(f"Worker {min(gone)} died while asked for {function.__name__}: run again.")
                time.sleep(0.05)
            return {address: fetching.result()[0] for address, fetching in fetches.items()}
        finally:
            for fetching in fetches.values():
                fetching.cancel()
            for future in futures.values():
                future.release()

    def info(self) -> dict[str, dict[str, Any]]:
        """Describe each worker by its address: name, host, nthreads, memory_limit, resources."""
        kept = ("name", "host", "nthreads", "memory_limit", "resources")
        try:  # not client.scheduler_info(): a timer of the client empties what it is about to return
            workers = self.client.sync(self._identity)["workers"]
        except (OSError, RuntimeError) as error:
            raise ClusterError(f"The scheduler no longer answers ({error}): start the run again.") from error
        return {address: {field: worker[field] for field in kept} for address, worker in workers.items()}

    async def _identity(self) -> dict[str, Any]:
        scheduler = self.client.scheduler
        if scheduler is None:
            raise RuntimeError("the client is closed")
        found: dict[str, Any] = await scheduler.identity(n_workers=-1)
        return found

    def workers(self, resources: Resources | None = None) -> list[str]:
        """List the addresses of the workers that offer the resources (all, if none are named)."""
        return offering(self.info(), resources)

    @property
    def num_workers(self) -> int:
        """Count the workers."""
        return len(self.info())

    @property
    def slots(self) -> int:
        """Count the worker threads, that is, the items that run at once."""
        return self.slots_for(None)

    def slots_for(self, resources: Resources | None) -> int:
        """Count the items that run at once while each holds the resources; may be two seconds old."""
        cache_key = repr(resources)
        asked, slots = self._slots.get(cache_key, (0.0, 0))
        if time.monotonic() - asked > REFRESH_SECONDS:
            fitting = set(self.workers(resources))
            slots = sum(worker["nthreads"] for address, worker in self.info().items() if address in fitting)
            self._slots[cache_key] = (time.monotonic(), slots)
        return slots

    def places(self, resources: Resources | None) -> int:
        """Count the items that run at once, at least one; on an elastic cluster as if it had its most workers."""
        least, most = self._bounds or (1, 1)
        return max(1 if least == most else most, self.slots_for(resources))

    def note_seconds(self, name: str, seconds: float) -> None:
        """Remember how long a function takes at most, so that none is begun that its job would cut off."""
        self.slowest[name] = max(seconds, self.slowest.get(name, 0.0))

    @property
    def size(self) -> int:
        """Count the workers to plan for: the most that there may be, else those that there are."""
        return self._bounds[1] if self._bounds else max(1, self.num_workers)

    @property
    def num_gpu_workers(self) -> int:
        """Count the workers with a GPU to plan for, as `size` counts all."""
        known = self.spec.num_gpus()
        return len(self.workers(GPU)) if known is None else known

    def memory(self, num_bytes: int) -> Resources:
        """Return what an item that takes so much memory asks for; nothing where a worker does not tell what it has."""
        workers = self.info().values()
        return {MEMORY: num_bytes} if workers and all(MEMORY in worker["resources"] for worker in workers) else {}

    def num_expected(self, resources: Resources | None = None) -> int:
        """Count the workers that there should be, also while some restart; 0 where only the cluster knows."""
        if "GPU" in (resources or {}):
            return self.spec.num_gpus() or 0
        return (self._bounds or (0, 0))[0]

    @cached_property
    def _bounds(self) -> tuple[int, int] | None:
        """The least and the most workers; looked up once, since runs ask for each item and GPUs are sought on disk."""
        return self.spec.size()

    def has_resource(self, name: str) -> bool:
        """Tell whether any worker offers the resource."""
        return bool(self.workers({name: 1}))

    def require(self, resources: Resources | None) -> None:
        """Raise ClusterError unless some worker offers the resources, so that no task waits for ever.

        Where the spec shows that none will, nothing is started. Workers that are still to come are waited for.
        """
        refuse(self.spec, resources)
        deadline = time.monotonic() + self.spec.patience_seconds
        while not offering(workers := self.info(), resources):
            to_come = len(workers) < max(1, self.num_expected())
            if not to_come or time.monotonic() > deadline:
                raise ClusterError(lack(workers, resources or {}))
            self.tender.look()
            time.sleep(0.2)

    @property
    def dashboard_link(self) -> str | None:
        """Where Dask's dashboard is served, if it is."""
        return self._link(self.client)

    def _link(self, client: Client) -> str | None:
        if self.spec.dashboard is False:
            return None
        if isinstance(self.spec, LocalSpec | QueueSpec | SshSpec):  # Dask would name the address workers come to
            deployed: Any = client.cluster
            return str(format_dashboard_link(HOST, deployed.scheduler_info["services"]["dashboard"]))
        with suppress(Exception):  # of a class that may have none
            return str(client.dashboard_link)
        return None


def _leave_topic(client: Client, topic: str) -> None:
    """Hear no more of it: else the scheduler finds the client gone when it tells of that."""
    with suppress(Exception):  # the scheduler may be gone
        client.unsubscribe_topic(topic)
