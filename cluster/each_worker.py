"""Running a function once on every worker."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from patchlake.cluster.dask_internals import fetch
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.flight import Flight
from patchlake.cluster.spec import Resources

R = TypeVar("R")


def ask_each(
    flight: Flight, function: Callable[[], R], name: str, resources: Resources | None, *, skip_lost: bool
) -> dict[str, R]:
    """Run the function on every worker that offers the resources, at the same time: address -> its result.

    A worker that leaves meanwhile is a ClusterError, or with `skip_lost` is left out.
    """
    client, workers = flight.connection.client, flight.workers
    futures = {
        address: client.submit(
            function, workers=[address], resources=resources, pure=False, priority=10,
            key=f"each_worker-{uuid.uuid4().hex}",
        )
        for address in workers.addresses(resources)
    }  # fmt: skip
    fetches = {address: fetch(client, [future]) for address, future in futures.items()}
    try:
        while not all(fetching.done() for fetching in fetches.values()):
            gone = set(fetches) - set(workers.addresses())
            for address in gone if skip_lost else ():
                fetches.pop(address).cancel()
            if gone and not skip_lost:
                raise ClusterError(f"Worker {min(gone)} died while asked for {name}: run again.")
            time.sleep(0.05)
        return {address: fetching.result()[0] for address, fetching in fetches.items()}
    finally:
        for fetching in fetches.values():
            fetching.cancel()
        for future in futures.values():
            future.release()
