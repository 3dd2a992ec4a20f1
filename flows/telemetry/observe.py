"""Where a run can be watched: Dask's dashboard, and its performance report."""

from __future__ import annotations

import os
import sys

from patchlake.tasks.errors import RecipeError


def say_dashboard(link: str | None) -> None:
    """Print where Dask's dashboard is."""
    if link is not None:
        print(f"dashboard: {link}", file=sys.stderr, flush=True)


def check_report(path: str | None) -> None:
    """Raise RecipeError unless a performance report could be written to the path; makes no file."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        wrong = "that is a folder"
    elif not os.path.isdir(folder):
        wrong = f"there is no folder {folder}"
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        wrong = "it is not writable"
    else:
        return
    raise RecipeError(f"--performance-report: got {path}, but {wrong}: expected a file to write, e.g. report.html")
