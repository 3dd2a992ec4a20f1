"""One worker at the far end of an SSH connection.

Everything a worker needs, certificates and environment included, goes through the channel's stdin: nothing stands on
a command line, and the worker ends when the channel does.
"""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import shlex
import sys
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.worker.options import READY, WorkerOptions

if TYPE_CHECKING:
    from patchlake.cluster.kinds.ssh import SshSpec

START_SECONDS = 60
CLOSE_SECONDS = 5


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
        """The last lines of its output."""
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, start the program and wait until it is ready."""
        import asyncssh

        try:
            self.connection = await asyncssh.connect(self.host, **connect_options(self.spec))
            python = shlex.quote(self.spec.python or sys.executable)
            command = f"exec {python} -P -m patchlake.cluster.worker.program --stdin"
            self.process = await self.connection.create_process(command, stderr=asyncssh.STDOUT)
            self.process.stdin.write(json.dumps(self._first_line()) + "\n")
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

    def _first_line(self) -> dict[str, Any]:
        options = WorkerOptions(
            scheduler=self.scheduler,
            name=self.name,
            gpus=1 if self.index < self.spec.gpus else 0,
            gpu_index=self.index,
            memory_limit=self.spec.memory,
            grace_seconds=self.spec.grace_seconds,
        )
        env = {name: value for name, value in os.environ.items() if _matches(name, self.spec.env)}
        return {
            "options": asdict(options),
            "security": certificates_of(self.security),
            "env": env,
        }

    async def _until_ready(self) -> None:
        while line := await self.process.stdout.readline():
            if line.strip() == READY:
                return
            self.output.append(line)
        raise EOFError("the program ended")

    async def _read(self) -> None:
        """Read what the worker prints, or it would block."""
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


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def connect_options(spec: SshSpec) -> dict[str, Any]:
    """Return asyncssh's keywords; what is not given stays as ssh has it."""
    given = {
        "port": spec.port,
        "username": spec.username,
        "client_keys": [spec.key] if spec.key else None,
        "known_hosts": spec.known_hosts,
    }
    return {name: value for name, value in given.items() if value is not None}


def certificates_of(security: Security | None) -> dict[str, Any]:
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
