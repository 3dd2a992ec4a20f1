"""When a worker leaves: whether it may still start an item before its job ends, and how it hands back what it holds."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

JOB_END = "PATCHLAKE_JOB_END"
"""Variable with the time (seconds since 1970) at which this worker's job is over; without it there is no end."""
CUT = "patchlake-cut"
"""Topic on which a leaving worker names the tasks that it did not finish."""
HEADROOM = 1.25
"""How much longer than the slowest so far an item may be expected to take."""
FRESH = 0.1
"""In this first part of its life a worker starts anything: no other would have more time."""
_started = time.time()
_leaving = False


def may_begin(expected_seconds: float) -> bool:
    """Tell whether an item that takes so long will be done before the job is over."""
    if _leaving:
        return False
    end = float(os.environ.get(JOB_END, "inf"))
    now = time.time()
    return now + HEADROOM * expected_seconds <= end or now - _started <= FRESH * (end - _started)


def leave_soon(dask_worker: Any) -> None:
    """Have this worker leave once its reply is on its way; a second call does nothing."""
    if not _leaving:
        dask_worker.loop.add_callback(drain, dask_worker)


async def drain(dask_worker: Any, seconds: float = 0.0) -> None:
    """Leave: start nothing more, wait so long for what runs, name what is cut off, and let Dask move the rest."""
    global _leaving
    _leaving = True
    deadline = time.monotonic() + seconds
    while (running := list(dask_worker.state.executing)) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    if seconds:
        for task in running:
            dask_worker.log_event(CUT, {"key": str(task.key)})
    else:
        await asyncio.sleep(0.1)  # the reply that hands the item back is on its way
    await dask_worker.close_gracefully(restart=False)
