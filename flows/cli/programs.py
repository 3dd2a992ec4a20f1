"""The verbs for clusters that are started by hand: worker, scheduler. They parse their own options."""

from __future__ import annotations

from typing import Any

import typer

app = typer.Typer()
OWN_OPTIONS: Any = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=OWN_OPTIONS)
def worker(ctx: typer.Context) -> int:
    """Start workers for a scheduler, in any job script."""
    from patchlake.cluster.worker.program import main

    return main(ctx.args)


@app.command(context_settings=OWN_OPTIONS)
def scheduler(ctx: typer.Context) -> int:
    """Start a scheduler that workers and runs find by a file."""
    from patchlake.cluster.scheduler import main

    return main(ctx.args)
