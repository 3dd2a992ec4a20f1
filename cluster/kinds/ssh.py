"""Workers on hosts that SSH reaches; the scheduler is in this process."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dask
from distributed import Client, Scheduler, SpecCluster
from distributed.core import Status
from distributed.security import Security
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import RemoteSpec
from patchlake.cluster.kinds.ssh_worker import SshWorker
from patchlake.cluster.settings import CONFIG, own_host, scheduler_options
from patchlake.cluster.strict import LocalPath
from patchlake.cluster.tls import open_security

LOST_WORKER_SECONDS = 10


class SshSpec(RemoteSpec):
    """Workers on hosts that SSH reaches with a key."""

    kind: Literal["ssh"] = "ssh"
    hosts: tuple[str, ...] = Field(min_length=1, description="Names or addresses")
    workers: PositiveInt = Field(default=1, description="Worker processes of each host")
    gpus: NonNegativeInt = Field(default=0, description="Workers of each host that own one GPU each")
    username: str | None = None
    port: PositiveInt = 22
    key: LocalPath | None = Field(default=None, description="Private key file; by default those of ssh and its agent")
    known_hosts: LocalPath | None = Field(
        default=None, description="By default ~/.ssh/known_hosts; an unknown host is refused"
    )
    env: tuple[str, ...] = Field(
        default=("AWS_*",), description="Names or patterns of variables to hand on, inside the SSH channel"
    )

    @model_validator(mode="after")
    def _gpus_have_workers(self) -> SshSpec:
        if self.gpus > self.workers:
            raise ValueError(f"gpus is {self.gpus}, but a host has {self.workers} workers: expected at most that")
        return self

    def size(self) -> tuple[int, int]:
        """Return the number of workers, twice."""
        return len(self.hosts) * self.workers, len(self.hosts) * self.workers

    def num_gpus(self) -> int:
        """Count the workers that own a GPU."""
        return len(self.hosts) * self.gpus

    @contextmanager
    def open(self, name: str) -> Iterator[Client]:
        """Start the scheduler here and the workers there; a lost worker is started again."""
        try:
            import asyncssh  # noqa: F401
        except ImportError as error:
            raise ClusterError("kind: ssh needs asyncssh: pip install 'patchlake[ssh]'.") from error
        config = {**CONFIG, "distributed.deploy.lost-worker-timeout": f"{LOST_WORKER_SECONDS}s"}
        with dask.config.set(config), open_security(self.tls) as security:
            options = scheduler_options(own_host(self.interface), security, dashboard=self.dashboard)
            with (
                _Places(
                    places_of(self, security),  # all are started now, and a host that refuses is an error
                    name="patchlake",
                    scheduler={"cls": Scheduler, "options": options},
                    security=security,
                    silence_logs=logging.CRITICAL,
                ) as cluster,
                Client(cluster, set_as_default=False) as client,
            ):
                size, _ = self.size()
                cluster.adapt(minimum=size, maximum=size, interval="1s")
                yield client

    def failed_to_start(self, deployed: Any) -> dict[str, str]:
        """Return the workers that could not be started again: name -> their output."""
        dead = (Status.closed, Status.failed)
        return {
            name: f"{name} does not start: {' '.join(worker.output)}"
            for name, worker in list(deployed.workers.items())
            if worker.status in dead
        }


class _Places(SpecCluster):
    """Workers that each have a place of their own, where a lost one is replaced."""

    def __init__(self, places: dict[str, dict[str, Any]], **options: Any) -> None:
        self._places = places
        super().__init__(workers=dict(places), **options)  # type: ignore[no-untyped-call]

    def new_worker_spec(self) -> dict[str, dict[str, Any]]:
        """Return the first free place."""
        name = next(name for name in self._places if name not in self.worker_spec)
        return {name: self._places[name]}


def places_of(spec: SshSpec, security: Security | None) -> dict[str, dict[str, Any]]:
    """Return the name of every worker and how Dask starts it."""
    return {
        f"{host}-{i}-{j}": {"cls": SshWorker, "options": {"spec": spec, "host": host, "index": j, "security": security}}
        for i, host in enumerate(spec.hosts)
        for j in range(spec.workers)
    }
