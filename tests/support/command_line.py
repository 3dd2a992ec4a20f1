"""The command line as a user runs it, in a process group of its own; and waiting for what takes a while."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException


@dataclass
class Done:
    code: int
    out: str
    err: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_patchlake(*args: str, env: dict[str, str] | None = None, timeout: float = 240) -> Done:
    """Run the command as a user would, in a process group of its own, and end whatever of it is left."""
    command = [sys.executable, "-m", "patchlake.flows", *args]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        end_group(process.pid)
    return Done(process.returncode, out, err)


@contextmanager
def running(*args: str, shell_before: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run a verb that goes on until it is ended, in a process group of its own, as long as the context.

    `shell_before` is run in a mount namespace of its own, in which the verb then runs.
    """
    command = [sys.executable, "-m", "patchlake.flows", *args]
    if shell_before:
        command = ["unshare", "--mount", "sh", "-c", f"{shell_before} && exec {shlex.join(command)}"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            end_group(process.pid)


def end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except (OSError, HTTPException):  # something else may have got the port
        return False


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
