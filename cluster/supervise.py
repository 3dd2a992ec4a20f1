"""Waiting for workers: those that failed to start are replaced, and a lasting cause becomes an error."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
from typing import Any

from patchlake.cluster.connection import Connection
from patchlake.cluster.dask_internals import forget_workers
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.resources import missing, offering, refuse
from patchlake.cluster.spec import Resources
from patchlake.cluster.workers import Workers

LOOK_SECONDS = 2.0
MOST_TRIES = 20
"""In all: a broken node would swallow job after job."""


class Supervisor:
    """Watches the workers that this process starts elsewhere; Dask counts one that never joined as on its way."""

    def __init__(self, connection: Connection, workers: Workers) -> None:
        self._connection = connection
        self._spec = connection.spec
        self._workers = workers
        self._looked = 0.0
        self._tries = MOST_TRIES
        self._seen_any = False
        """Whether there ever was a worker."""

    def note_worker(self) -> None:
        """Remember that there was a worker, also one that came and went between two looks."""
        self._seen_any = True

    def look(self) -> None:
        """Replace what failed to start. It may be called often; it looks every two seconds.

        Raises ClusterError where no worker ever joined (the next would fail likewise) or none is left after many tries.
        """
        if not self._spec.starts_elsewhere or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        count = len(self._workers.info())
        self._seen_any = self._seen_any or count > 0
        if count >= self._workers.expected():
            return
        deployed: Any = self._connection.client.cluster
        failed = self._spec.failed_to_start(deployed)
        if failed and count == 0 and (self._tries <= 0 or not self._seen_any):
            raise ClusterError(next(iter(failed.values())))
        if failed and self._tries > 0:
            self._tries -= len(failed)
            deployed.sync(forget_workers, deployed, list(failed))

    def require(self, resources: Resources | None) -> None:
        """Raise ClusterError unless some worker offers the resources, so that no task waits for ever.

        Where the spec shows that none will, nothing is started. Workers that are still to join are waited for.
        """
        refuse(self._spec, resources)
        deadline = time.monotonic() + self._spec.patience_seconds
        while not offering(workers := self._workers.info(), resources):
            to_come = len(workers) < max(1, self._workers.expected())
            if not to_come or time.monotonic() > deadline:
                raise ClusterError(missing(workers, resources or {}))
            self.look()
            time.sleep(0.2)


class Patience:
    """How long a run waits while no worker can do its items."""

    def __init__(self, seconds: float, workers: Workers, resources: Resources | None) -> None:
        self._seconds = seconds
        self._workers = workers
        self._resources = resources
        self._last_seen = time.monotonic()

    def renew(self) -> None:
        """Start waiting from now on: nobody was looking before."""
        self._last_seen = time.monotonic()

    def check(self) -> None:
        """Raise ClusterError if no worker has offered the resources for too long."""
        if self._workers.slots(self._resources):
            self.renew()
        elif time.monotonic() - self._last_seen > self._seconds:
            raise ClusterError(
                f"No worker that offers {self._resources or 'a thread'} left for {self._seconds:.0f} s: "
                "see the workers' logs for why they ended, then run again; it resumes."
            )
