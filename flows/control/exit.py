"""How the command line's process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from patchlake.flows.control import prefect_record

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
"""Exit codes: usage is also a bad recipe or nothing to work on; stopped is Ctrl-C or SIGTERM."""
_code = FAILED
"""Of a process that ends with a traceback."""


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Remember the exit code of what is done inside, for `end`."""
    global _code
    try:
        yield
        _code = DONE
    except SystemExit as exit:
        _code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise


def leave(code: int) -> NoReturn:
    """Exit; at once if Prefect's server went away: Prefect would retry for a minute."""
    if prefect_record.is_silent():
        _exit(code)
    sys.exit(code)


def end() -> NoReturn:
    """End the process before Python's finalization, once threads were joined and everything else was closed.

    Up to Python 3.13 finalization ends daemon threads by unwinding their stacks. Where C++ frames are on a stack this
    aborts the process: "terminate called without an active exception", exit code -6 after all the work was done
    (python/cpython#87135).
    """
    logging.shutdown()
    _exit(_code)


def _exit(code: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):  # the reader of a pipe may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
