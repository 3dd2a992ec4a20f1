"""The verbs that take a recipe: run, plan, features, serve."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from patchlake.flows.cli import errors
from patchlake.flows.cli.options import (
    ClusterKind,
    Overrides,
    PerformanceReport,
    Recipe,
    RunOptions,
    Verbose,
    Wait,
    overrides_of,
)

app = typer.Typer()


@app.command(epilog="Example: patchlake run recipe.yaml --cluster slurm --set cluster.workers=16 --detach")
def run(
    recipe: Recipe,
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in the background, or as a job of the queue; prints the run's id.")
    ] = False,
    run_id: Annotated[str | None, typer.Option(hidden=True)] = None,
    wait: Wait = 0.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what timed out, ran out of memory or crashed before.")
    ] = False,
    performance_report: PerformanceReport = None,
    verbose: Verbose = False,
    cluster: ClusterKind = None,
    overrides: Overrides = None,
) -> int:
    """Bring a lake up to what a recipe says.

    What the lake holds already is not done again, so this is also how a run that ended early is continued.
    """
    options = RunOptions(
        recipe=recipe,
        overrides=overrides_of(cluster, overrides),
        wait_seconds=wait,
        performance_report=performance_report,
        verbose=verbose,
        run_id=run_id,
    )
    return _detach(options, retry_failed) if detach else _run(options, retry_failed)


def _run(options: RunOptions, retry_failed: bool) -> int:
    errors.say_starting()
    from patchlake.flows.cli.coordinate import coordinate
    from patchlake.flows.cli.startup import run_recipe
    from patchlake.flows.session import SessionOptions, check
    from patchlake.flows.telemetry.observe import check_report

    wanted = check(options.recipe, options.overrides)  # errors are reported before anything starts
    check_report(options.performance_report)

    def work(run_id: str) -> int:
        of_session = SessionOptions(
            run_id=run_id, wait_seconds=options.wait_seconds, performance_report=options.performance_report
        )
        figures = run_recipe(options.absolute_recipe, options.overrides, of_session, retry_failed=retry_failed)
        if not figures["clips"]:
            print("patchlake: no clip of the corpus is in the lake; the table `sources` says why", file=sys.stderr)
            return 1
        return 0

    return coordinate(options, wanted, work)


def _detach(options: RunOptions, retry_failed: bool) -> int:
    from patchlake.flows.control.detach import detach
    from patchlake.flows.session import check
    from patchlake.flows.telemetry.observe import check_report

    wanted = check(options.recipe, options.overrides)
    check_report(options.performance_report)
    report = ["--performance-report", options.performance_report] if options.performance_report else []
    words = [*["--retry-failed"] * retry_failed, *report]
    print(detach(wanted, options.recipe, options.overrides, options.wait_seconds, *words))
    return 0


@app.command(epilog="Example: patchlake plan recipe.yaml --diff")
def plan(
    recipe: Recipe,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Say what differs from the lake, and which part of its key.")
    ] = False,
    cluster: ClusterKind = None,
    overrides: Overrides = None,
) -> None:
    """Say what a run would do, without doing it.

    Counts, bytes, hours; what is reused and what is redone. Unknown videos are probed.
    """
    from patchlake.flows.forecast import plan_recipe, show

    found = plan_recipe(recipe, overrides_of(cluster, overrides))
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        show(found, diff=diff)


@app.command(epilog="Example: patchlake features recipe.yaml --add hog --drop edges")
def features(
    recipe: Recipe,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A feature of the recipe, or an entry as a recipe spells it; repeatable."),
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A feature that the lake holds; repeatable.")
    ] = None,
    wait: Wait = 0.0,
    performance_report: PerformanceReport = None,
    verbose: Verbose = False,
    cluster: ClusterKind = None,
    overrides: Overrides = None,
) -> int:
    """Add features from stored pixels, or drop features.

    No video is read.
    """
    options = RunOptions(
        recipe=recipe,
        overrides=overrides_of(cluster, overrides),
        wait_seconds=wait,
        performance_report=performance_report,
        verbose=verbose,
    )
    return _change_features(options, tuple(add or ()), tuple(drop or ()))


def _change_features(options: RunOptions, add: tuple[str, ...], drop: tuple[str, ...]) -> int:
    errors.say_starting()
    from patchlake.flows.added_features import with_features
    from patchlake.flows.cli.coordinate import call_flow, coordinate
    from patchlake.flows.control import server
    from patchlake.flows.load import load_recipe
    from patchlake.flows.session import check_lake
    from patchlake.flows.telemetry.observe import check_report
    from patchlake.tasks.errors import RecipeError

    if not add and not drop:
        raise RecipeError("features: expected --add NAME or --drop NAME, e.g. --add hog")
    wanted, _ = with_features(load_recipe(options.recipe, options.overrides), options.recipe, add)
    check_lake(wanted)
    check_report(options.performance_report)

    def work(run_id: str) -> int:
        server.use()  # before Prefect is imported: it reads then where its server is
        from patchlake.flows.change_features import change_features

        path, report = options.absolute_recipe, options.performance_report
        call_flow(change_features, path, options.overrides, add, drop, run_id, options.wait_seconds, report)
        return 0

    if code := coordinate(options, wanted, work):
        return code
    for name in add:
        print(f"{name} is in the lake; keep it in the recipe's features, so that later runs give it to new videos")
    for name in drop:
        print(f"{name} is gone; take it out of the recipe's features, or the next run computes it again")
    return 0


@app.command(epilog="Example: patchlake serve recipe.yaml, where the recipe has a line like schedule: '0 2 * * *'")
def serve(recipe: Recipe, cluster: ClusterKind = None, overrides: Overrides = None) -> int:
    """Run a recipe on its schedule, until stopped."""
    from patchlake.flows.serve import serve_recipe

    return serve_recipe(recipe, overrides_of(cluster, overrides))
