"""Workers on hosts that SSH reaches; the scheduler is in this process.

Everything a worker is told, certificates and environment included, goes through the channel's stdin: nothing stands on
a command line, and the worker ends when the channel does.
"""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import fnmatch
import json
import logging
import os
import shlex
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Scheduler, SpecCluster
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import SshSpec
from patchlake.cluster.settings import CONFIG, own_host, scheduler_options
from patchlake.cluster.tls import open_security
from patchlake.cluster.worker.program import READY, Orders

START_SECONDS = 60
CLOSE_SECONDS = 5
LOST_WORKER_SECONDS = 10


@contextmanager
def open_ssh(spec: SshSpec) -> Iterator[Client]:
    """Start the scheduler here and the workers there; a worker that is lost is started again."""
    try:
        import asyncssh  # noqa: F401
    except ImportError as error:
        raise ClusterError("kind: ssh needs asyncssh: pip install 'patchlake[ssh]'.") from error
    config = {**CONFIG, "distributed.deploy.lost-worker-timeout": f"{LOST_WORKER_SECONDS}s"}
    with dask.config.set(config), open_security(spec.tls) as security:
        host = own_host(spec.interface)
        with (
            _Places(
                places_of(spec, security),  # all are started now, and a host that refuses is an error
                name="patchlake",
                scheduler={"cls": Scheduler, "options": scheduler_options(host, security, dashboard=spec.dashboard)},
                security=security,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            size, _ = spec.size()
            cluster.adapt(minimum=size, maximum=size, interval="1s")
            yield client


class _Places(SpecCluster):
    """Workers that each have a place of their own: who is lost is replaced there."""

    def __init__(self, places: dict[str, dict[str, Any]], **options: Any) -> None:
        self._places = places
        super().__init__(workers=dict(places), **options)  # type: ignore[no-untyped-call]

    def new_worker_spec(self) -> dict[str, dict[str, Any]]:
        """Return the first free place."""
        name = next(name for name in self._places if name not in self.worker_spec)
        return {name: self._places[name]}


def places_of(spec: SshSpec, security: Security | None) -> dict[str, dict[str, Any]]:
    """Name every worker, and say how it is started."""
    return {
        f"{host}-{i}-{j}": {"cls": SshWorker, "options": {"spec": spec, "host": host, "index": j, "security": security}}
        for i, host in enumerate(spec.hosts)
        for j in range(spec.workers)
    }


class SshWorker(ProcessInterface):  # type: ignore[misc]
    """One worker at the far end of an SSH connection, for Dask's SpecCluster."""

    def __init__(
        self, scheduler: str, name: str, *, spec: SshSpec, host: str, index: int, security: Security | None
    ) -> None:
        super().__init__(scheduler=scheduler, name=name)  # type: ignore[no-untyped-call]
        self.scheduler, self.name = scheduler, name
        self.spec, self.host, self.index, self.security = spec, host, index, security
        self.connection: Any = None
        self.process: Any = None
        self.output: deque[str] = deque(maxlen=30)
        """The last lines that it wrote."""
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, start the program and wait until it is ready."""
        import asyncssh

        try:
            self.connection = await asyncssh.connect(self.host, **connect_options(self.spec))
            python = shlex.quote(self.spec.python or sys.executable)
            command = f"exec {python} -P -m patchlake.cluster.worker.program --stdin"
            self.process = await self.connection.create_process(command, stderr=asyncssh.STDOUT)
            self.process.stdin.write(json.dumps(self._orders()) + "\n")
            await asyncio.wait_for(self._until_ready(), START_SECONDS)
        except (OSError, asyncssh.Error, TimeoutError, EOFError) as error:
            await self.close()
            said = "".join(self.output).strip()
            raise ClusterError(
                f"No worker starts on {self.host} over SSH ({type(error).__name__}: {error}): expected a key that it "
                f"takes, the host in known_hosts, and patchlake at the same path or in cluster.python.\n{said}".rstrip()
            ) from error
        self._reading = asyncio.create_task(self._read())
        await super().start()  # type: ignore[no-untyped-call]

    def _orders(self) -> dict[str, Any]:
        orders = Orders(
            scheduler=self.scheduler,
            name=self.name,
            gpus=1 if self.index < self.spec.gpus else 0,
            gpu_index=self.index,
            memory_limit=self.spec.memory,
            grace_seconds=self.spec.grace_seconds,
        )
        names = [name for name in os.environ if any(fnmatch.fnmatchcase(name, each) for each in self.spec.env)]
        return {"orders": asdict(orders), "security": told(self.security), "env": {n: os.environ[n] for n in names}}

    async def _until_ready(self) -> None:
        while line := await self.process.stdout.readline():
            if line.strip() == READY:
                return
            self.output.append(line)
        raise EOFError("it ended")

    async def _read(self) -> None:
        """Take what the worker writes, or it would block."""
        while line := await self.process.stdout.readline():
            self.output.append(line)

    async def close(self) -> None:
        """End the channel, and with it the worker."""
        if self.process is not None:
            self.process.stdin.write_eof()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait_closed(), CLOSE_SECONDS)
        if self._reading is not None:
            self._reading.cancel()
        if self.connection is not None:
            self.connection.close()
            await self.connection.wait_closed()
        await super().close()  # type: ignore[no-untyped-call]


def unborn(cluster: Any) -> dict[str, str]:
    """Tell of workers that could not be started again: name -> why."""
    dead = (Status.closed, Status.failed)
    return {
        name: f"{name} does not start: {' '.join(worker.output)}"
        for name, worker in list(cluster.workers.items())
        if worker.status in dead
    }


def connect_options(spec: SshSpec) -> dict[str, Any]:
    """Return asyncssh's keywords; what is not given is as ssh has it."""
    given = {
        "port": spec.port,
        "username": spec.username,
        "client_keys": [spec.key] if spec.key else None,
        "known_hosts": spec.known_hosts,
    }
    return {name: value for name, value in given.items() if value is not None}


def told(security: Security | None) -> dict[str, Any]:
    """Return a worker's certificates as text, since the files are on this machine."""
    if security is None:
        return {}
    files = security.get_tls_config_for_role("worker")
    return {
        "require_encryption": True,
        "tls_ca_file": Path(files["ca_file"]).read_text(),
        "tls_worker_cert": Path(files["cert"]).read_text(),
        "tls_worker_key": Path(files["key"]).read_text(),
    }
