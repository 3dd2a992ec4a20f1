"""How the command line's process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from patchlake.flows.control import prefect_record

_code = 1
"""Of a process that ends with a traceback."""


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Remember the exit code that is asked for."""
    global _code
    try:
        yield
        _code = 0
    except SystemExit as exit:
        _code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise


def leave(code: int) -> NoReturn:
    """Exit; without what Prefect still wants to tell a server that went away, which would take a minute."""
    if prefect_record.is_silent():
        _exit(code)
    sys.exit(code)


def end() -> NoReturn:
    """End the process before Python takes itself apart, once threads were waited for and all else was closed.

    Up to Python 3.13 daemon threads are then ended by unwinding their stacks, and where C++ libraries are on them that
    aborts the process: "terminate called without an active exception", exit code -6 after all was done
    (python/cpython#87135).
    """
    logging.shutdown()
    _exit(_code)


def _exit(code: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):  # whoever read may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
