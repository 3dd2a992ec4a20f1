"""The door to a cluster: connect, run items, ask each worker, stop, close."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from distributed import Client

from patchlake.cluster.connection import StartOptions
from patchlake.cluster.each_worker import ask_each
from patchlake.cluster.flight import Flight
from patchlake.cluster.run_items import ItemOptions, ItemRun, NotYet, Outcome, Retry, ignore
from patchlake.cluster.spec import ClusterSpec, Resources
from patchlake.cluster.worker.perform import name_of, stop_session

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def connect(
    spec: ClusterSpec,
    *,
    setup: Callable[[], None] | None = None,
    packages: Iterable[str] = (),
    name: str = "patchlake",
    before_start: Callable[[], None] | None = None,
    on_start: Callable[[str | None], None] | None = None,
    performance_report: str | None = None,
) -> Iterator[Cluster]:
    """Yield the cluster that the spec describes; it starts at its first use and is closed at the end.

    The other arguments are explained in `connection.StartOptions`.
    """
    options = StartOptions(
        setup=setup,
        packages=tuple(packages),
        name=name,
        before_start=before_start,
        on_start=on_start,
        performance_report=performance_report,
    )
    cluster = Cluster(spec, options)
    try:
        yield cluster
    finally:
        cluster.close()


class Cluster:
    """Workers that run functions on items; any number of threads may use it at once."""

    def __init__(self, spec: ClusterSpec, options: StartOptions | None = None) -> None:
        self.spec = spec
        self.flight = Flight.of(spec, options or StartOptions())
        """What runs and gangs on this cluster share."""
        self._workers = self.flight.workers

    @property
    def started(self) -> bool:
        """Whether any process or connection exists yet."""
        return self.flight.connection.started is not None

    @property
    def client(self) -> Client:
        """Dask's client; asking for it starts the cluster."""
        return self.flight.connection.client

    @property
    def dashboard_link(self) -> str | None:
        """Where Dask's dashboard is served, if it is."""
        return self.flight.connection.dashboard_link(self.client)

    @property
    def memory_kills(self) -> int:
        """How many workers were ended because they took more memory than they may."""
        return self.flight.incidents.memory_kills

    def stop(self) -> None:
        """Submit no more items: runs yield what workers are doing now, then end. Items that only wait are skipped."""
        flight = self.flight
        if flight.stopping.is_set():
            return
        flight.stopping.set()
        with flight.window.changed:
            flight.window.changed.notify_all()
        client = flight.connection.started
        if client is not None and len(flight.window):
            threading.Thread(target=_skip_waiting, args=(client, flight.session), daemon=True).start()

    def start_soon(self) -> None:
        """Start it beside what the caller does meanwhile. If that fails, its first use tries again, and says why."""
        threading.Thread(target=self._start, name="patchlake-cluster", daemon=True).start()

    def _start(self) -> None:
        with suppress(Exception):
            self.flight.connection.client  # noqa: B018  asking for it starts it

    def close(self) -> None:
        """End what this cluster started; one that was never started costs nothing."""
        self.stop()
        self.flight.connection.close()

    def run(
        self,
        function: Callable[[T], R],
        items: Iterable[T | NotYet],
        *,
        resources: Resources | None = None,
        key: Callable[[T], str] | None = None,
        alone: bool = False,
        on_retry: Callable[[T, Retry], None] | None = None,
    ) -> Iterator[Outcome[T, R]]:
        """Yield an outcome for every item, in the order in which they end; items are taken lazily.

        Where they yield NOT_YET in place of an item, they are asked again a moment later.

        An item may run more than once (its worker died), but is yielded once. An error of the function is
        an outcome. An item whose worker dies again and again, at last with the cluster to itself, is one too.
        The other arguments are explained in `run_items.ItemOptions`.
        """
        options = ItemOptions[T](resources=resources, key=key, alone=alone, on_retry=on_retry or ignore)
        return ItemRun[T, R](self.flight, function, items, options).outcomes()

    def each_worker(
        self, function: Callable[..., R], *args: Any, resources: Resources | None = None, skip_lost: bool = False
    ) -> dict[str, R]:
        """Run the function once on every worker (that offers the resources), at the same time: address -> result.

        A worker that leaves meanwhile is a ClusterError, or with `skip_lost` is left out.
        """
        return ask_each(self.flight, partial(function, *args), name_of(function), resources, skip_lost=skip_lost)

    def require(self, resources: Resources | None) -> None:
        """Raise ClusterError unless some worker offers the resources, so that no task waits for ever.

        Where the spec shows that none will, nothing is started. Workers that are still to join are waited for.
        """
        self.flight.supervisor.require(resources)

    def info(self) -> dict[str, dict[str, Any]]:
        """Describe each worker by its address: name, host, nthreads, memory_limit, resources."""
        return self._workers.info()

    def workers(self, resources: Resources | None = None) -> list[str]:
        """List the addresses of the workers that offer the resources (all, if none are named)."""
        return self._workers.addresses(resources)

    def memory(self, num_bytes: int) -> Resources:
        """Return what an item of so many bytes asks for; nothing where a worker does not offer memory as a resource."""
        return self._workers.memory(num_bytes)

    @property
    def num_workers(self) -> int:
        """Count the workers that there are now."""
        return len(self._workers.info())

    def num_expected(self, resources: Resources | None = None) -> int:
        """Count the workers that there should be, also while some restart; 0 where only the cluster knows."""
        return self._workers.expected(resources)

    @property
    def size(self) -> int:
        """Count the workers to plan for: the most that there may be, else those that there are."""
        return self._workers.planned()

    @property
    def num_gpu_workers(self) -> int:
        """Count the workers with a GPU to plan for, as `size` counts all."""
        return self._workers.planned_with_gpu()


def _skip_waiting(client: Client, session: str) -> None:
    """Have workers skip what waits there, in a thread of its own: a worker may be slow to answer."""
    with suppress(Exception):  # workers may be gone; then nothing waits on them
        client.run(stop_session, session, wait=False, on_error="ignore")
