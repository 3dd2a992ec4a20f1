"""A scheduler that runs already, reached by its address or by its scheduler file."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from distributed import Client
from pydantic import Field, model_validator

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import Waiting
from patchlake.cluster.spec import ClusterSpec
from patchlake.cluster.strict import LocalPath
from patchlake.cluster.tls import open_security

CONNECT_TIMEOUT_SECONDS = 30


class AddressSpec(Waiting, ClusterSpec):
    """A scheduler that runs already."""

    kind: Literal["address"] = "address"
    address: str | None = Field(default=None, description="Where it listens, e.g. tcp://10.0.0.1:8786")
    scheduler_file: LocalPath | None = Field(
        default=None, description="Or the file with its address, written by the scheduler"
    )
    wait: str = Field(default="1 m", description="How long its workers may take to join")

    @model_validator(mode="after")
    def _one_of_both(self) -> AddressSpec:
        if bool(self.address) == bool(self.scheduler_file):
            given = "both are" if self.address else "no address is"
            raise ValueError(f"{given} given: expected address: tcp://HOST:PORT or scheduler_file: PATH")
        if self.tls is True:
            raise ValueError("tls is true, but the scheduler has its certificates: give tls the folder they lie in")
        if self.tls and self.address and not self.address.startswith("tls://"):
            raise ValueError(f"tls is given, but address is {self.address!r}: expected tls://HOST:PORT")
        return self

    @contextmanager
    def open(self, name: str) -> Iterator[Client]:
        """Connect to the scheduler; it and its workers outlive the context."""
        with open_security(self.tls) as security:
            if self.scheduler_file:
                wait_for_file(self.scheduler_file)
            try:
                client = Client(
                    self.address,
                    scheduler_file=self.scheduler_file,
                    security=security,
                    set_as_default=False,
                    timeout=CONNECT_TIMEOUT_SECONDS,
                )
            except (OSError, TimeoutError, TypeError) as error:  # TypeError: tls:// without certificates
                raise ClusterError(
                    f"No scheduler answers at {self.address or self.scheduler_file} within {CONNECT_TIMEOUT_SECONDS} s "
                    f"({error}): start one with `patchlake scheduler`, or correct cluster.address, or cluster.tls if "
                    "it uses TLS."
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
