"""What runs inside a worker process: the caller's setup, once, and one item at a time."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from distributed import WorkerPlugin, get_worker
from distributed.protocol import pickle

PLUGIN = "patchlake-setup"
_stopped: set[str] = set()


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
    setup_error: str = ""
    """The worker's setup failed (a first one fails `connect`; this is a restarted or later worker)."""


class Setup(WorkerPlugin):  # type: ignore[misc]
    """Run the caller's setup once in each worker process, before any task."""

    name = PLUGIN

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self.error = ""

    def setup(self, worker: Any) -> None:
        """Dask calls this as the worker joins; on a later worker it would swallow the error, so keep it."""
        try:
            self.function()
        except BaseException as error:
            self.error = f"{type(error).__name__}: {error}"
            raise RuntimeError(self.error) from error


def perform(function: Callable[[Any], Any], item: Any, session: str) -> Reply:
    """Run the function on one item; this is the task that Dask sees."""
    worker = get_worker()
    if session in _stopped:
        return Reply(worker.address, skipped=True)
    if setup_error := getattr(worker.plugins.get(PLUGIN), "error", ""):
        return Reply(worker.address, setup_error=setup_error)
    try:
        return Reply(worker.address, result=function(item))
    except (Exception, SystemExit) as error:
        trace = "".join(traceback.format_exception(error)).rstrip()
        return Reply(worker.address, error=_portable(error), trace=trace)


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
