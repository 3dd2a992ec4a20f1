"""What runs inside a worker process: the caller's setup, once, and then one item at a time."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from distributed import WorkerPlugin, get_worker
from distributed.protocol import pickle

from patchlake.cluster.worker import cuda_errors
from patchlake.cluster.worker.leave import leave_soon, may_begin
from patchlake.cluster.worker.versions import check_versions

PLUGIN = "patchlake-setup"
_stopped: set[str] = set()
_slowest: dict[str, float] = {}
_free_since = time.monotonic()
"""Since when this worker has had nothing to do: the end of its last item, at first the start of its process."""


class Reply(NamedTuple):
    """What came of one item; errors travel as values, so that Dask neither logs nor retries them."""

    worker: str
    """The worker's address."""
    result: Any = None
    error: BaseException | None = None
    trace: str = ""
    """The error's traceback on the worker."""
    skipped: bool = False
    """The run is stopping and the item was not started."""
    handed_back: bool = False
    """The worker is leaving and did not start the item: another one has to."""
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
    if not may_begin(max(expected_seconds, _slowest.get(name, 0.0))):
        leave_soon(worker)
        return Reply(worker.address, handed_back=True)
    begun = time.monotonic()
    idle_seconds = begun - _free_since
    try:
        reply = Reply(worker.address, result=function(item))
    except (Exception, SystemExit) as error:
        trace = "".join(traceback.format_exception(error)).rstrip()
        if cuda_errors.is_lost(error):
            cuda_errors.end_worker(trace)
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


def stop_session(session: str) -> None:
    """Skip, from now on, the session's items that wait on this worker."""
    _stopped.add(session)


def _portable(error: BaseException) -> BaseException:
    """Return the error as it looks after a journey, or a RuntimeError like it if it can't be pickled."""
    try:
        copy: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    return copy
