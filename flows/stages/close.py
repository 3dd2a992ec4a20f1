"""The end of a run: its figures as a table on the terminal, and as a row of `runs`."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from patchlake.cluster.spec import GPU
from patchlake.flows.control import prefect_record
from patchlake.flows.session import Session
from patchlake.flows.stages.deferred import gpu_products
from patchlake.flows.stages.units import job_of
from patchlake.tasks import objectives
from patchlake.tasks.lake.layout import REPORT_PAGE
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.report.facts import shares, time_spent
from patchlake.tasks.unit import speed_of_light
from patchlake.tasks.unit.speed_of_light import Light


def measure_light(session: Session, plan: Plan) -> None:
    """Sample the speed of light of what was just done, on all workers at once, and set the run beside it."""
    figures = session.figures.get("ingest")
    if figures is None or not figures.get("frames decoded"):
        return
    with session.stage("light"):
        apart = frozenset(name for unit in plan.apart for name in unit.products)
        found = _sampled(session, plan, frozenset(session.products) - apart)
        on_gpus = _sampled(session, plan, apart) if apart else []
    if not found or bool(apart) != bool(on_gpus):
        return
    rows, parts = figures["rows"], _parts(found)
    gpu_parts = _parts(on_gpus) | {"decode": 0.0} if on_gpus else {}
    parts = {name: parts.get(name, 0.0) + gpu_parts.get(name, 0.0) for name in {**parts, **gpu_parts}}
    figures["frames/s"] = rows / session.seconds["ingest"]
    figures["light frames/s"] = len(found) / sum(parts.values())
    if on_gpus:  # all workers share all of it, those with a GPU what is apart
        figures["light frames/s"] = min(figures["light frames/s"], len(on_gpus) / sum(gpu_parts.values()))
    figures["measured / light"] = figures["frames/s"] / figures["light frames/s"]
    figures["light parts"] = parts
    bare = sum(seconds for name, seconds in parts.items() if name not in ("decode", "write")) * rows
    spent = sum(seconds for name, seconds in figures.items() if name.startswith("compute "))
    if bare and spent:
        figures["features measured / light"] = bare / spent


def _sampled(session: Session, plan: Plan, names: frozenset[str]) -> list[Light]:
    """Return the light of some products on each of the workers that compute them; none where that fails."""
    gpu = GPU if gpu_products((session.products[name] for name in names), session.cluster) else None
    failed = frozenset(row["span_key"] for row in session.tables.failures.rows())
    samples = speed_of_light.samples_of(plan.all_units, without=failed)
    try:
        answers = session.cluster.each_worker(
            speed_of_light.sample_light, job_of(session), samples, names, resources=gpu, skip_lost=True
        )
    except Exception as error:  # all is stored: a figure is not worth the run
        print(f"light: not measured. {error}", file=sys.stderr, flush=True)
        return []
    return [x for x in answers.values() if x is not None]


def _parts(found: list[Light]) -> dict[str, float]:
    """Return seconds per row of each part, over the workers."""
    names = found[0].compute
    mean = {"decode": sum(x.decode for x in found), "write": sum(x.write for x in found)}
    mean |= {name: sum(x.compute[name] for x in found) for name in names}
    return {name: value / len(found) for name, value in mean.items()}


def close_run(session: Session) -> dict[str, Any]:
    """Write the run's row, print its table, and return its figures."""
    figures = {**session.figures, "seconds": session.seconds}
    figures["seconds"]["all"] = (datetime.now(UTC) - session.started).total_seconds()
    session.tables.runs.append([
        {
            "run_id": session.run_id, "started": session.started, "stopped": datetime.now(UTC),
            "version": importlib.metadata.version("patchlake"), "recipe": session.recipe.model_dump_json(),
            "figures": json.dumps(figures, default=str),
        }
    ])  # fmt: skip
    Console().print(table_of(session, figures))
    return prefect_record.note_done(figures)


def table_of(session: Session, figures: dict[str, Any]) -> Table:
    """Return the short table that ends a run."""
    table = Table(title=f"{session.lake}  run {session.run_id}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    if figures["sources"]:
        table.add_row("sources", ", ".join(f"{count} {status}" for status, count in sorted(figures["sources"].items())))
    table.add_row("clips", f"{figures['clips']:,}")
    if (ingest := figures.get("ingest")) is not None:
        table.add_row("rows", f"{ingest['rows']:,} new, in {ingest['units']} units; padding {ingest['padding']:.1%}")
        table.add_row("bytes", f"{ingest.get('bytes', 0) / 1e6:,.1f} MB")
        decoded = (
            f"{ingest.get('frames decoded', 0):,} frames decoded, {ingest.get('frames re-decoded', 0):,} of them again"
        )
        table.add_row("decoding", decoded)
        if "measured / light" in ingest:
            table.add_row(
                "speed",
                f"{ingest['frames/s']:,.0f} frames/s; speed of light {ingest['light frames/s']:,.0f}: "
                f"measured / light {ingest['measured / light']:.2f}",
            )
        if spent := time_spent(ingest):
            table.add_row("time", shares(spent))
        if "features measured / light" in ingest:
            table.add_row("features", f"measured / light {ingest['features measured / light']:.2f}")
    else:
        table.add_row("rows", "none new: nothing was decoded, all is in the lake")
    for reduction in session.recipe.reduce:
        if reduction.name in figures:
            table.add_row(reduction.name, ", ".join(f"{v:,} {k}" for k, v in figures[reduction.name].items()))
    train, options = figures.get("train"), session.recipe.train
    if train is not None and options is not None:
        skipped = [("train", f"skipped: {train['skipped']}")] if "skipped" in train else None
        for name, text in skipped or objectives.build(options).rows(train):
            table.add_row(name, text)
    times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in figures["seconds"].items())
    table.add_row("seconds", times)
    table.add_row("report", f"{session.lake}/{REPORT_PAGE}")
    return table
