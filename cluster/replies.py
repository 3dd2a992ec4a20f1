"""Fetching the results of ended tasks, while the caller looks after the workers."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

from distributed import Client, Future

from patchlake.cluster.dask_internals import fetch
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.worker.perform import Reply

Futures = list["Future[Reply]"]


def replies_of(client: Client, futures: Futures, look: Callable[[], None]) -> list[Reply]:
    """Fetch the replies of ended tasks, together if all went well, and release their futures.

    `look` is called every second meanwhile, since a worker that died with its reply has to be replaced. An error of
    Dask's (KilledWorker) becomes its task's reply. Raises ClusterError if the scheduler went away.
    """
    try:
        if all(future.status == "finished" for future in futures):
            return _fetched(client, futures, look)
        return [_reply(client, future, look) for future in futures]
    except ClusterError:
        raise
    except Exception:  # of one of them
        return [_reply(client, future, look) for future in futures]
    finally:
        for future in futures:
            future.release()


def _reply(client: Client, future: Future[Reply], look: Callable[[], None]) -> Reply:
    if future.cancelled():
        raise ClusterError("The scheduler went away with the tasks in flight: run again, it resumes.")
    try:
        return _fetched(client, [future], look)[0]
    except ClusterError:
        raise
    except Exception as error:
        return Reply("", error=error)


def _fetched(client: Client, futures: Futures, look: Callable[[], None]) -> list[Reply]:
    fetching = fetch(client, futures)
    try:
        while not concurrent.futures.wait([fetching], timeout=1.0).done:
            look()
        return fetching.result()
    finally:
        fetching.cancel()
