"""The workers of a cluster: which there are, which there should be, how many items they can do at once."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from patchlake.cluster.connection import Connection
from patchlake.cluster.dask_internals import identity
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.resources import offering
from patchlake.cluster.spec import GPU, MEMORY, Resources

REFRESH_SECONDS = 2.0
"""How old a count of slots may be."""


class Workers:
    """Asks the scheduler and the spec about workers. What needs the scheduler starts the cluster."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._spec = connection.spec
        self._slots: dict[str, tuple[float, int]] = {}
        """Resources -> when their slots were counted, and how many there were."""

    def info(self) -> dict[str, dict[str, Any]]:
        """Describe each worker by its address: name, host, nthreads, memory_limit, resources."""
        kept = ("name", "host", "nthreads", "memory_limit", "resources")
        client = self._connection.client
        try:  # not client.scheduler_info(): a timer of the client empties what it is about to return
            workers = client.sync(identity, client)["workers"]
        except (OSError, RuntimeError) as error:
            raise ClusterError(f"The scheduler no longer answers ({error}): start the run again.") from error
        return {address: {field: worker[field] for field in kept} for address, worker in workers.items()}

    def addresses(self, resources: Resources | None = None) -> list[str]:
        """List the workers that offer the resources (all, if none are named)."""
        return offering(self.info(), resources)

    def slots(self, resources: Resources | None) -> int:
        """Count the items that can run at once while each holds the resources; may be two seconds old."""
        cache_key = repr(resources)
        asked, slots = self._slots.get(cache_key, (0.0, 0))
        if time.monotonic() - asked > REFRESH_SECONDS:
            info = self.info()
            slots = sum(info[address]["nthreads"] for address in offering(info, resources))
            self._slots[cache_key] = (time.monotonic(), slots)
        return slots

    def most_slots(self, resources: Resources | None) -> int:
        """Count slots, at least one; on an elastic cluster as if it had its most workers."""
        least, most = self._bounds or (1, 1)
        return max(1 if least == most else most, self.slots(resources))

    def planned(self) -> int:
        """Count the workers to plan for: the most that there may be, else those that there are."""
        return self._bounds[1] if self._bounds else max(1, len(self.info()))

    def planned_with_gpu(self) -> int:
        """Count the workers with a GPU to plan for."""
        known = self._spec.num_gpus()
        return len(self.addresses(GPU)) if known is None else known

    def expected(self, resources: Resources | None = None) -> int:
        """Count the workers that there should be, also while some restart; 0 where only the cluster knows."""
        if "GPU" in (resources or {}):
            return self._spec.num_gpus() or 0
        return (self._bounds or (0, 0))[0]

    def memory(self, num_bytes: int) -> Resources:
        """Return what an item of so many bytes asks for; nothing where a worker does not offer memory as a resource."""
        workers = self.info().values()
        return {MEMORY: num_bytes} if workers and all(MEMORY in worker["resources"] for worker in workers) else {}

    @cached_property
    def _bounds(self) -> tuple[int, int] | None:
        """The least and the most workers; looked up once, since runs ask for each item and GPUs are sought on disk."""
        return self._spec.size()
