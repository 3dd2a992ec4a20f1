"""One temporary Prefect server per user and machine, kept between runs: starting one takes seconds.

It listens on loopback, and answers only to those who know its random auth string. That is in its record, a file of
mode 0600 in PATCHLAKE_HOME/servers. It ends by itself after IDLE_SECONDS without a request, and by `patchlake reap`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from patchlake.flows.control.home import own_folder
from patchlake.flows.control.server_program import USE_PATH
from patchlake.tasks.errors import PatchlakeError
from patchlake.tasks.storage.process_identity import Process, machine, process

IDLE_SECONDS = 600.0
START_SECONDS = 120.0
"""How long a server may take to answer for the first time: on a new home it makes its database."""
ANSWER_SECONDS = 10.0
KEPT_VARIABLES = ("HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
KEPT_PREFIXES = ("LC_", "PREFECT_", "PYTHON", "SSL_", "XDG_")
"""What of the environment the server inherits: it outlives the run, so no credentials of stores and hubs."""
CLIENT_VARIABLES = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
_in_use: KeptServer | None = None


@dataclass(frozen=True, kw_only=True)
class KeptServer:
    """A temporary server; the fields are the keys of its record."""

    process: Process
    port: int
    auth: str
    """Name and password, as NAME:PASSWORD."""

    @property
    def url(self) -> str:
        """The URL of its API."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which Prefect's client finds it."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth}

    @property
    def is_used(self) -> bool:
        """Whether requests are under way, e.g. of a flow that listens to events."""
        with contextlib.suppress(OSError, ValueError):
            return bool(json.loads(self._get(USE_PATH, 2.0))["open"])
        return False

    def wait(self) -> None:
        """Return when it answers; raises PatchlakeError if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while self.process.is_alive and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._get("/api/admin/version", START_SECONDS)  # needs the auth string: another server would refuse it
                return
            time.sleep(0.1)
        log = _log(_record_file())
        raise PatchlakeError(
            f"the temporary Prefect server at {self.url} does not answer; {log} says: {_last_line(log)}. "
            "`patchlake reap` ends it, or name a server of your own by PREFECT_API_URL"
        )

    def end(self) -> None:
        """End it, and return when it is gone."""
        import psutil

        from patchlake.flows.control.processes import end_processes

        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid)
            if self.process.is_alive:
                end_processes([found])

    def _get(self, path: str, timeout: float) -> bytes:
        token = base64.b64encode(self.auth.encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Basic {token}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout) as answer:
            found: bytes = answer.read()
        return found


def is_configured() -> bool:
    """Tell whether the user names a Prefect server: by the environment, a profile, or a file of settings.

    Prefect is imported only where a file that it reads may name one.
    """
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    files = [profiles, Path(".env"), Path("prefect.toml"), Path("pyproject.toml")]
    if not any(_may_name_a_server(file) for file in files):
        return False
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def _may_name_a_server(file: Path) -> bool:
    try:
        text = file.read_text(errors="replace").lower()
    except OSError:
        return False
    if file.name == "pyproject.toml" and "tool.prefect" not in text:
        return False
    return "api_url" in text or "[api]" in text or "prefect.api" in text


def keep(idle_seconds: float = IDLE_SECONDS) -> KeptServer:
    """Return this user's temporary server, started if there is none; it may not answer yet: see `KeptServer.wait`.

    Runs that start at the same time get the same one. Raises OSError where PATCHLAKE_HOME can't be written to.
    """
    record = _record_file()
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(record):
        found = _read(record)
        if found is not None and found.process.is_alive and _is_responsive(found, record):
            return found
        if found is not None:
            found.end()
        return _start(record, idle_seconds)


def use() -> KeptServer | None:
    """Make this process's flows use the temporary server, unless the user names another one; return it if so.

    Call it before Prefect is imported, which then reads the environment. The server may not answer yet.
    """
    global _in_use
    if is_configured():
        return None
    try:
        _in_use = keep()
    except OSError:  # nowhere to write its record: Prefect starts one for this run alone
        return None
    os.environ |= _in_use.environment
    return _in_use


def is_in_use() -> bool:
    """Tell whether this process's flows use the temporary server."""
    return _in_use is not None


def wait_if_in_use() -> None:
    """Return when the server that `use` chose answers; see `KeptServer.wait`."""
    if _in_use is not None:
        _in_use.wait()


def known() -> Iterator[KeptServer]:
    """Yield this user's temporary servers on this machine; records of those that are gone are removed."""
    for record in (own_folder() / "servers").glob("*.json"):
        found = _read(record)
        if found is not None and found.process.is_here:
            if found.process.is_alive:
                yield found
            else:
                record.unlink(missing_ok=True)


def _is_responsive(server: KeptServer, record: Path) -> bool:
    """Tell whether it answers; one that was started just now may take its time."""
    if time.time() - record.stat().st_mtime < START_SECONDS:
        return True
    with contextlib.suppress(OSError):
        server._get("/api/health", ANSWER_SECONDS)
        return True
    return False


def _start(record: Path, idle_seconds: float) -> KeptServer:
    """Start a server on a socket that listens already: early requests wait, and no other process can take the port."""
    auth = f"patchlake:{secrets.token_urlsafe(32)}"
    environment = {
        name: value
        for name, value in os.environ.items()
        if (name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)) and name not in CLIENT_VARIABLES
    }
    environment |= {
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",  # as Prefect starts its own temporary servers: fewer services
        "PREFECT__SERVER_FINAL": "1",
    }
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        words = [str(listener.fileno()), str(idle_seconds), str(record)]
        port = listener.getsockname()[1]
        record.touch(mode=0o600)  # the server ends once its record is gone
        log = os.open(_log(record), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            started = subprocess.Popen(
                [sys.executable, "-P", "-m", "patchlake.flows.control.server_program", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=record.parent, env=environment,
                pass_fds=[listener.fileno()], start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(log)
    server = KeptServer(process=process(started.pid), port=port, auth=auth)
    started.returncode = 0  # it is not waited for: else Python would warn of a process that is still running
    _write(record, server)
    return server


def _record_file() -> Path:
    """Return where the server's record is: a server fits one machine, Python, version and database."""
    names = ("PREFECT_HOME", "PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
    parts = [
        machine(),
        sys.prefix,
        importlib.metadata.version("prefect"),
        *map(partial(os.environ.get, default=""), names),
    ]
    return own_folder() / "servers" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.json"


def _log(record: Path) -> Path:
    return record.with_suffix(".log")


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        return next((line.strip() for line in reversed(log.read_text().splitlines()) if line.strip()), "nothing")
    return "nothing"


def _read(record: Path) -> KeptServer | None:
    try:
        data: dict[str, Any] = json.loads(record.read_text())
        return KeptServer(process=Process(**data["process"]), port=data["port"], auth=data["auth"])
    except (OSError, ValueError, KeyError, TypeError):  # no record, or a broken one
        return None


def _write(record: Path, server: KeptServer) -> None:
    part = record.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(server), file)
    part.replace(record)


@contextlib.contextmanager
def _locked(record: Path) -> Iterator[None]:
    """Let one process at a time look for a server and start one."""
    with open(record.with_suffix(".lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
