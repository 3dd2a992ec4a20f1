"""A scheduler that runs already, reached by its address."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import ClusterSpec

CONNECT_TIMEOUT_SECONDS = 30


@contextmanager
def open_address(spec: ClusterSpec) -> Iterator[Client]:
    """Connect to the scheduler; it and its workers outlive the context."""
    try:
        client = Client(spec.address, set_as_default=False, timeout=CONNECT_TIMEOUT_SECONDS)
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"No scheduler answers at {spec.address} within {CONNECT_TIMEOUT_SECONDS} s ({error}): "
            "start one with `dask scheduler`, or correct cluster.address."
        ) from error
    with client:
        yield client
