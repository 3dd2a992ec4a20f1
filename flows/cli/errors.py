"""What an error becomes on the command line: one sentence and an exit code. Only --debug shows tracebacks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

import typer

from patchlake.cluster.errors import ClusterError
from patchlake.flows.control.exit import FAILED, STOPPED, USAGE
from patchlake.tasks.errors import PatchlakeError, RecipeError

DEBUG = "PATCHLAKE_DEBUG"
"""Environment variable that --debug sets, so that the processes of a run inherit it."""
MAX_CHARACTERS = 500
"""Of the message of an error that was not foreseen."""


def code_of(work: Callable[[], int | None]) -> int:
    """Do the work and return the exit code; what went wrong is printed on stderr, in one sentence.

    0: done; 1: failed; 2: bad recipe or usage, or nothing to work on; 130: stopped by Ctrl-C or SIGTERM.
    """
    try:
        return work() or 0
    except (typer.TyperException, typer.Exit, typer.Abort):
        raise  # usage errors: typer prints them
    except (PatchlakeError, ClusterError) as error:
        if is_debug():
            raise
        _say(str(error))
        return USAGE if isinstance(error, RecipeError) else FAILED
    except KeyboardInterrupt:
        _say("stopped; what was committed stays, run again to continue")
        return STOPPED
    except BrokenPipeError:  # the reader of the pipe is gone, e.g. `| head`
        return FAILED
    except Exception as error:
        if is_debug():
            raise
        _say(_unforeseen(error))
        return FAILED


def is_debug() -> bool:
    """Tell whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def say_starting() -> None:
    """Print a first line on a terminal, before what takes seconds to import."""
    if sys.stderr.isatty():
        print("starting ...", file=sys.stderr, flush=True)


def hide_tracebacks() -> None:
    """Keep Prefect from printing the traceback of a failed flow or task: the error is printed once, by `code_of`.

    Call it once Prefect has been imported and has set up its logging; its server still gets the traceback.
    """
    if not is_debug():
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_no_traceback)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))


def _unforeseen(error: Exception) -> str:
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text[:MAX_CHARACTERS]}" if text else type(error).__name__
    return f"{said.rstrip('.')}. This was not foreseen; run the same command with --debug to see where it comes from"


def _say(sentence: str) -> None:
    print(f"patchlake: {sentence}", file=sys.stderr, flush=True)
