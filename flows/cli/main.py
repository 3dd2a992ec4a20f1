"""The command line: `patchlake VERB ...`."""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from patchlake.cluster.errors import ClusterError
from patchlake.flows.control import exit, prefect_record
from patchlake.tasks.errors import PatchlakeError, RecipeError

if TYPE_CHECKING:
    from patchlake.tasks.recipe import Recipe


def main(argv: list[str] | None = None) -> None:
    """Run a verb and exit: 0 done, 1 failed, 2 bad recipe or usage or nothing discovered."""
    if argv is None:
        atexit.register(exit.end)  # registered before anything else, it is called after everything else
    with exit.noted():
        _do(sys.argv[1:] if argv is None else argv)


def _do(argv: list[str]) -> NoReturn:
    if argv and argv[0] in PROGRAMS:
        sys.exit(_program(argv[0], argv[1:]))
    args = _parser().parse_args(argv)
    if getattr(args, "cluster", None):
        args.overrides.insert(0, f"cluster={args.cluster}")
    exit.leave(_code_of(lambda: args.verb(args)))


def _code_of(work: Callable[[], int]) -> int:
    """Do the work, say what went wrong in a sentence, and return the exit code."""
    try:
        return work()
    except RecipeError as error:
        print(f"patchlake: {error}", file=sys.stderr)
        return 2
    except (PatchlakeError, ClusterError) as error:
        print(f"patchlake: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("patchlake: stopped; what was committed stays, run again to go on", file=sys.stderr)
        return 130


PROGRAMS = {
    "worker": "start workers for a scheduler, in any job script: --scheduler-file FILE",
    "scheduler": "start a scheduler that workers and runs find by a file: --scheduler-file FILE",
}
"""Verbs with options of their own, which know nothing of recipes."""


def _program(verb: str, argv: Sequence[str]) -> int:
    if verb == "worker":
        from patchlake.cluster.worker.program import main
    else:
        from patchlake.cluster.scheduler import main
    return main(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="patchlake", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="bring a lake up to what a recipe says")
    run.add_argument("recipe")
    run.add_argument("--detach", action="store_true", help="in the background, or as a job of the queue; prints its id")
    run.add_argument("--run-id", help=argparse.SUPPRESS)
    _add_wait(run)
    run.add_argument(
        "--retry-failed", action="store_true", help="try again what timed out, ran out of memory or crashed before"
    )
    _add_observation(run)
    _add_overrides(run)
    run.set_defaults(verb=_run)

    plan = verbs.add_parser("plan", help="say what a run would do: counts, bytes, hours, what is reused or redone")
    plan.add_argument("recipe")
    plan.add_argument("--json", action="store_true", help="print it as JSON")
    plan.add_argument("--diff", action="store_true", help="say what differs from the lake, and which part of its key")
    _add_overrides(plan)
    plan.set_defaults(verb=_plan)

    features = verbs.add_parser("features", help="add features from stored pixels, or drop them; no video is touched")
    features.add_argument("recipe")
    entry = "a feature of the recipe, or an entry as a recipe spells it"
    features.add_argument("--add", action="append", default=[], metavar="NAME", help=entry)
    features.add_argument("--drop", action="append", default=[], metavar="NAME", help="a feature of the lake")
    _add_wait(features)
    _add_observation(features)
    _add_overrides(features)
    features.set_defaults(verb=_features)

    serve = verbs.add_parser("serve", help="run a recipe on its schedule, until stopped")
    serve.add_argument("recipe")
    _add_overrides(serve)
    serve.set_defaults(verb=_serve)

    status = verbs.add_parser("status", help="list the runs that were detached, and those that go on")
    status.add_argument("run_id", nargs="?", metavar="RUN_ID")
    status.set_defaults(verb=_status)

    logs = verbs.add_parser("logs", help="print what a detached run said")
    logs.add_argument("run_id", metavar="RUN_ID")
    logs.add_argument("--follow", action="store_true", help="until the run is over")
    logs.set_defaults(verb=_logs)

    cancel = verbs.add_parser("cancel", help="end a run: what is in flight is committed, a second time kills it")
    cancel.add_argument("run_id", metavar="RUN_ID")
    cancel.add_argument("--force", action="store_true", help="kill it at once")
    cancel.set_defaults(verb=_cancel)

    reap = verbs.add_parser("reap", help="clean up after coordinators that died: jobs, processes, locks, Prefect runs")
    reap.add_argument("lake", nargs="?", metavar="LAKE/NAME")
    reap.set_defaults(verb=_reap)

    digest = verbs.add_parser("digest", help="print what equal lakes share")
    digest.add_argument("lake", metavar="LAKE/NAME")
    digest.set_defaults(verb=_digest)

    verify = verbs.add_parser("verify", help="check every committed row against its checksum")
    verify.add_argument("lake", metavar="LAKE/NAME")
    verify.set_defaults(verb=_verify)

    demo = verbs.add_parser("demo", help="render the default corpus: clips of moving textures, and their manifest")
    demo.add_argument("folder")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(verb=_demo)

    for name, text in PROGRAMS.items():
        verbs.add_parser(name, help=text, add_help=False)
    return parser


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", metavar="KIND", help="where to run, as in --cluster slurm; its keys: --set cluster.KEY=VALUE"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="as in frames.size=[64,64]",
    )


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="how long to wait where another run owns the lake"
    )


def _add_observation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--performance-report",
        metavar="FILE.html",
        type=os.path.abspath,
        help="write Dask's performance report there, also if the run fails",
    )
    parser.add_argument("--verbose", action="store_true", help="print a line of JSON for each unit of work")


def _run(args: argparse.Namespace) -> int:
    from patchlake.flows.session import check
    from patchlake.flows.telemetry.observe import check_report

    recipe = check(args.recipe, args.overrides)  # what is wrong is said before anything starts
    check_report(args.performance_report)
    if args.detach:
        from patchlake.flows.control.detach import detach

        report = ["--performance-report", args.performance_report] if args.performance_report else []
        words = [*["--retry-failed"] * args.retry_failed, *report]
        print(detach(recipe, args.recipe, args.overrides, args.wait, *words))
        return 0
    return _coordinate(args, recipe, lambda run_id: _run_flow(args, run_id))


def _coordinate(args: argparse.Namespace, recipe: Recipe, work: Callable[[str], int]) -> int:
    """Do the work of a run, written down under its id; SIGTERM ends it as Ctrl-C does."""
    from patchlake.cluster.kinds.remote import QUEUES
    from patchlake.flows.control import records
    from patchlake.flows.telemetry import observe
    from patchlake.tasks.lake.lock import refuse_if_held
    from patchlake.tasks.storage.location import Location

    lake = Location(recipe.lake) / recipe.name
    if not args.wait:
        refuse_if_held(lake)  # in one sentence, before Prefect and the cluster
    detached = getattr(args, "run_id", None)
    run_id = detached or records.new_id()
    os.environ[records.VARIABLE] = run_id  # also a temporary Prefect server inherits it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.verbose or detached:
        observe.say_units()
    queue = kind if (kind := recipe.cluster.get("kind", "local")) in QUEUES else None
    asked = records.Asked(
        recipe=os.path.abspath(args.recipe),
        overrides=args.overrides,
        lake=str(lake),
        detached=detached is not None,
        queue=queue,
    )
    with records.coordinating(run_id, asked) as ending:
        ending.exit_code = _code_of(lambda: work(run_id))
    return ending.exit_code


def _run_flow(args: argparse.Namespace, run_id: str) -> int:
    from patchlake.flows.run import run

    path, report = os.path.abspath(args.recipe), args.performance_report
    figures = prefect_record.call(run, path, tuple(args.overrides), run_id, args.wait, args.retry_failed, report)
    if not figures["clips"]:
        print("patchlake: no clip of the corpus is in the lake; the table `sources` says why", file=sys.stderr)
        return 1
    return 0


def _plan(args: argparse.Namespace) -> int:
    from patchlake.flows.forecast import plan_recipe, show

    found = plan_recipe(args.recipe, args.overrides)
    if args.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        show(found, diff=args.diff)
    return 0


def _features(args: argparse.Namespace) -> int:
    from patchlake.flows.change_features import change_features, with_features
    from patchlake.flows.session import check_lake
    from patchlake.flows.telemetry.observe import check_report
    from patchlake.tasks import recipe as recipes

    if not args.add and not args.drop:
        raise RecipeError("features: expected --add NAME or --drop NAME, as in --add hog")
    wanted, _ = with_features(recipes.load(args.recipe, args.overrides), args.recipe, tuple(args.add))
    check_lake(wanted)
    check_report(args.performance_report)
    path, changes = os.path.abspath(args.recipe), (tuple(args.add), tuple(args.drop))

    def change(run_id: str) -> int:
        report = args.performance_report
        prefect_record.call(change_features, path, tuple(args.overrides), *changes, run_id, args.wait, report)
        return 0

    if code := _coordinate(args, wanted, change):
        return code
    for name in args.add:
        print(f"{name} is in the lake; keep it in the recipe's features, so that later runs give it to new videos")
    for name in args.drop:
        print(f"{name} is gone; take it out of the recipe's features, or the next run computes it anew")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from patchlake.flows.serve import serve_recipe

    return serve_recipe(args.recipe, args.overrides)


def _status(args: argparse.Namespace) -> int:
    from patchlake.flows.control import follow, records

    chosen = [records.Run(args.run_id)] if args.run_id else records.known_runs()
    return _say(follow.status_lines(chosen))


def _logs(args: argparse.Namespace) -> int:
    from patchlake.flows.control import follow, records

    follow.follow(records.Run(args.run_id), to_the_end=args.follow)
    return 0


def _cancel(args: argparse.Namespace) -> int:
    from patchlake.flows.control import follow, records

    return _say(follow.cancel(records.Run(args.run_id), force=args.force))


def _reap(args: argparse.Namespace) -> int:
    from patchlake.flows.control.reap import reap
    from patchlake.tasks.lake.arrays import existing_lake

    return _say(reap(existing_lake(args.lake) if args.lake else None))


def _say(lines: Iterable[str]) -> int:
    for line in lines:
        print(line, flush=True)
    return 0


def _digest(args: argparse.Namespace) -> int:
    from patchlake.tasks.lake import arrays, digest

    found = digest.digest(arrays.existing_lake(args.lake))
    for part in ("clips", "tables", "shards"):
        print(f"{part}  {getattr(found, part)}")
    print(f"digest  {found.total}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from patchlake.tasks.lake import arrays, digest

    wrong = list(digest.verify(arrays.existing_lake(args.lake)))
    print("\n".join(wrong) if wrong else "every committed row is as it was committed")
    return 1 if wrong else 0


def _demo(args: argparse.Namespace) -> int:
    from patchlake.tasks.corpus.synthetic import render_corpus

    files = render_corpus(Path(args.folder), seed=args.seed)
    print(f"{len(files)} clips in {args.folder}, listed in manifest.csv")
    return 0
