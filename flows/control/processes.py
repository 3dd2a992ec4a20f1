"""Processes of this user on this machine: those that a run started, and how they are ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from patchlake.flows.control.home import RUN_VARIABLE

END_SECONDS = 5.0
"""How long processes have to end after SIGTERM, before SIGKILL."""


def end_processes(processes: Sequence[psutil.Process]) -> None:
    """End processes by SIGTERM, and those that take too long by SIGKILL; returns when they are gone."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sent)  # never to another process that got the same number
        deadline = time.monotonic() + END_SECONDS
        while not all(_is_gone(process) for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes_of(run_id: str) -> list[psutil.Process]:
    """Return this user's processes on this machine that inherited the run's mark, except the caller and its parents."""
    this = psutil.Process()
    own = {this.pid, *(parent.pid for parent in this.parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in own and process.uids().real == os.getuid() and _mark_of(process) == run_id:
                found.append(process)
    return found


def _mark_of(process: psutil.Process) -> str | None:
    """Return the id of the run that a process is part of."""
    mark: str | None = process.environ().get(RUN_VARIABLE)
    return mark
