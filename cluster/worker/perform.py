"""What runs inside a worker process: the caller's setup, once, and one item at a time, until its job nears its end."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from distributed import WorkerPlugin, get_worker
from distributed.protocol import pickle

from patchlake.cluster.worker import cuda_errors

PLUGIN = "patchlake-setup"
JOB_END = "PATCHLAKE_JOB_END"
"""Variable with the time (seconds since 1970) at which this worker's job is over; without it there is no end."""
CUT = "patchlake-cut"
"""Topic on which a leaving worker tells what it did not end."""
HEADROOM = 1.25
"""How much longer than the slowest so far an item is expected to take at most."""
FRESH = 0.1
"""In this part of its life a worker begins anything: no other would have more time."""
_stopped: set[str] = set()
_slowest: dict[str, float] = {}
_began = time.time()
_free_since = time.monotonic()
"""Since when this worker has had nothing to do: the end of its last item, at first the start of its process."""
_leaving = False


class Reply(NamedTuple):
    """What came of one item; errors travel as values, so that Dask neither logs nor retries them."""

    worker: str
    """The worker's address."""
    result: Any = None
    error: BaseException | None = None
    trace: str = ""
    """The error's traceback on the worker."""
    skipped: bool = False
    """The run is stopping and the item was not begun."""
    handed_back: bool = False
    """The worker is leaving and did not begin the item: another one has to."""
    setup_error: str = ""
    """The worker's setup failed (a first one fails `connect`; this is a restarted or later worker)."""
    seconds: float = 0.0
    """How long the function took."""
    idle_seconds: float = 0.0
    """How long the worker had nothing to do before."""


class Setup(WorkerPlugin):  # type: ignore[misc]
    """Compare versions and run the caller's setup, once in each worker process, before any task."""

    name = PLUGIN

    def __init__(self, function: Callable[[], None] | None, versions: dict[str, str]) -> None:
        self.function = function
        self.versions = versions
        self.error = ""

    def setup(self, worker: Any) -> None:
        """Dask calls this as the worker joins; on a later worker it would swallow the error, so keep it."""
        try:
            check_versions(self.versions)
            if self.function is not None:
                self.function()
        except BaseException as error:
            self.error = f"{type(error).__name__}: {error}"
            raise RuntimeError(self.error) from error


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python (without the last number) and of packages; "none" if one is missing."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def check_versions(wanted: dict[str, str]) -> None:
    """Raise ValueError unless this process has the versions of the coordinator's."""
    found = versions_of(name for name in wanted if name != "python")
    differing = [f"{name} {found[name]} (here {version})" for name, version in wanted.items() if found[name] != version]
    if differing:
        raise ValueError(
            f"the worker on {platform.node()} has {', '.join(differing)}: install the same versions on all machines"
        )


def perform(function: Callable[[Any], Any], item: Any, session: str, expected_seconds: float = 0.0) -> Reply:
    """Run the function on one item; this is the task that Dask sees.

    An item that may not be done before the worker's job ends (`expected_seconds`: the slowest so far) is handed back.
    """
    global _free_since
    worker = get_worker()
    if session in _stopped:
        return Reply(worker.address, skipped=True)
    if setup_error := getattr(worker.plugins.get(PLUGIN), "error", ""):
        return Reply(worker.address, setup_error=setup_error)
    name = name_of(function)
    if not _may_begin(max(expected_seconds, _slowest.get(name, 0.0))):
        if not _leaving:
            worker.loop.add_callback(drain, worker)
        return Reply(worker.address, handed_back=True)
    begun = time.monotonic()
    idle_seconds = begun - _free_since
    try:
        reply = Reply(worker.address, result=function(item))
    except (Exception, SystemExit) as error:
        trace = "".join(traceback.format_exception(error)).rstrip()
        if cuda_errors.is_lost(error):
            cuda_errors.leave(trace)
        reply = Reply(worker.address, error=_portable(error), trace=trace)
    _free_since = time.monotonic()
    seconds = _free_since - begun
    _slowest[name] = max(seconds, _slowest.get(name, 0.0))
    return reply._replace(seconds=seconds, idle_seconds=idle_seconds)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the one inside a partial."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__name__)


def _may_begin(expected_seconds: float) -> bool:
    """Tell whether an item that takes so long is done before the job is over."""
    if _leaving:
        return False
    end = float(os.environ.get(JOB_END, "inf"))
    now = time.time()
    return now + HEADROOM * expected_seconds <= end or now - _began <= FRESH * (end - _began)


async def drain(dask_worker: Any, seconds: float = 0.0) -> None:
    """Leave: begin nothing more, wait so long for what runs, tell what is cut, and let Dask move the rest."""
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


def stop_session(session: str) -> None:
    """Skip, from now on, the session's items that are queued on this worker but not begun."""
    _stopped.add(session)


def _portable(error: BaseException) -> BaseException:
    """Return the error as it looks after a journey, or a RuntimeError like it if it can't be pickled."""
    try:
        copy: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    return copy
