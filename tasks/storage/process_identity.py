"""Identifies a process by machine, process id and start time, so that a record of it can be checked later."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of one machine. A process id may be reused; id and start time together are not."""

    host: str
    machine: str
    """Identifies boot and process namespace: containers may share a host name, and a machine may be restarted."""
    pid: int
    start: int
    """Clock ticks from the machine's start to the process's; 0: there was no such process."""

    @property
    def is_here(self) -> bool:
        """Whether it belongs to this machine, so that /proc shows whether it still runs."""
        return self.machine == machine()

    @property
    def is_alive(self) -> bool:
        """Whether a process of this machine still runs; a zombie does not."""
        return self.start > 0 and start_of(self.pid) == self.start


def this_process() -> Process:
    """Return the current process."""
    return process(os.getpid())


def process(pid: int) -> Process:
    """Return a process of this machine."""
    return Process(host=socket.gethostname(), machine=machine(), pid=pid, start=start_of(pid))


def start_of(pid: int) -> int:
    """Return when a process started (field 22 of /proc/PID/stat), in clock ticks; 0 if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # a command's name may contain spaces and brackets
    return 0 if fields[0] in "ZX" else int(fields[19])


@cache
def machine() -> str:
    """Return an identifier of this boot of this machine and this process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
