"""The verbs about runs: status, logs, cancel, reap."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from patchlake.flows.cli.options import AnyLake, AnyRunId, RunId

app = typer.Typer()


@app.command(epilog="Example: patchlake status")
def status(run_id: AnyRunId = None) -> None:
    """List detached runs, and those still running."""
    from patchlake.flows.control import records, status

    chosen = [records.RunRecord(run_id)] if run_id else records.known_runs()
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(status.table(chosen))
    else:
        _print(status.lines(chosen))


@app.command(epilog="Example: patchlake logs 3f2a9c0d1b7e --follow")
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Keep printing until the run is over.")] = False,
) -> None:
    """Print what a detached run has printed."""
    from patchlake.flows.control import follow as following
    from patchlake.flows.control import records

    following.follow(records.RunRecord(run_id), until_over=follow)


@app.command(epilog="Example: patchlake cancel 3f2a9c0d1b7e")
def cancel(run_id: RunId, force: Annotated[bool, typer.Option("--force", help="Kill it at once.")] = False) -> None:
    """End a run; its units in flight are committed.

    A second `cancel`, or --force, kills it and cleans up after it.
    """
    from patchlake.flows.control import cancel, records

    _print(cancel.cancel(records.RunRecord(run_id), force=force))


@app.command(epilog="Example: patchlake reap ./lake/demo")
def reap(lake: AnyLake = None) -> None:
    """Clean up after coordinators that died.

    Ends their jobs and processes, removes their locks and uncommitted shards, sets their Prefect runs to Crashed;
    also ends the temporary Prefect server that no run uses.
    """
    from patchlake.flows.control.reap import reap
    from patchlake.tasks.lake.arrays import existing_lake

    _print(reap(existing_lake(lake) if lake else None))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)
