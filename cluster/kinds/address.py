"""A scheduler that runs already, reached by its address or by the file into which it wrote that."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import AddressSpec
from patchlake.cluster.tls import open_security

CONNECT_TIMEOUT_SECONDS = 30


@contextmanager
def open_address(spec: AddressSpec) -> Iterator[Client]:
    """Connect to the scheduler; it and its workers outlive the context."""
    with open_security(spec.tls) as security:
        if spec.scheduler_file:
            wait_for_file(spec.scheduler_file)
        try:
            client = Client(
                spec.address,
                scheduler_file=spec.scheduler_file,
                security=security,
                set_as_default=False,
                timeout=CONNECT_TIMEOUT_SECONDS,
            )
        except (OSError, TimeoutError, TypeError) as error:  # TypeError: tls:// without certificates
            raise ClusterError(
                f"No scheduler answers at {spec.address or spec.scheduler_file} within {CONNECT_TIMEOUT_SECONDS} s "
                f"({error}): start one with `patchlake scheduler`, or correct cluster.address, or cluster.tls if it "
                "uses TLS."
            ) from error
        with client:
            yield client


def wait_for_file(path: str) -> None:
    """Wait until a scheduler has written its address; raises ClusterError if none does."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_SECONDS
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"No scheduler wrote {path} within {CONNECT_TIMEOUT_SECONDS} s: start one with "
                f"`patchlake scheduler --scheduler-file {path}`."
            )
        time.sleep(0.1)
