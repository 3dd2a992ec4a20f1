"""Arguments and options that several verbs share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe: a YAML file.", show_default=False)]
ClusterKind = Annotated[
    str | None,
    typer.Option("--cluster", metavar="KIND", help="Where to run, e.g. slurm; its keys by --set cluster.KEY=VALUE."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the recipe, e.g. frames.size=[64,64]; repeatable."
    ),
]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long to wait while another run owns the lake.", show_default=False)
]
PerformanceReport = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.html",
        callback=lambda path: path and os.path.abspath(path),
        help="Write Dask's performance report to this file, also if the run fails.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print a line of JSON for each unit of work.")]
_A_LAKE = typer.Argument(metavar="LAKE/NAME", help="A lake: a folder or an s3:// URL.", show_default=False)
Lake = Annotated[str, _A_LAKE]
AnyLake = Annotated[str | None, _A_LAKE]


def _known_run_ids() -> Iterable[str]:
    from patchlake.flows.control.records import known_runs

    return [record.run_id for record in known_runs()]


_A_RUN = typer.Argument(
    metavar="RUN_ID", help="A run, as `patchlake status` lists it.", autocompletion=_known_run_ids, show_default=False
)
RunId = Annotated[str, _A_RUN]
AnyRunId = Annotated[str | None, _A_RUN]


def overrides_of(cluster: str | None, sets: list[str] | None) -> tuple[str, ...]:
    """Return the changes to the recipe, in the order in which they apply: --cluster goes first.

    >>> overrides_of("slurm", ["cluster.workers=2"])
    ('cluster=slurm', 'cluster.workers=2')
    """
    return (*([f"cluster={cluster}"] if cluster else []), *(sets or []))


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a verb that writes to a lake was given."""

    recipe: str
    """The recipe's path."""
    overrides: tuple[str, ...]
    wait_seconds: float = 0.0
    performance_report: str | None = None
    verbose: bool = False
    run_id: str | None = None
    """Given if the run is detached: it has been recorded under this id already."""

    @property
    def absolute_recipe(self) -> str:
        """The recipe's absolute path: the flow may be looked at from another folder."""
        return os.path.abspath(self.recipe)
