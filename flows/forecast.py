"""`patchlake plan RECIPE`: what a run would do, as a table or JSON. The lake is read, never written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from patchlake.flows.load import load_recipe
from patchlake.flows.session import Session, open_cluster
from patchlake.flows.stages.survey import survey_sources
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.figures import accounts
from patchlake.tasks.lake.arrays import root_attrs
from patchlake.tasks.lake.create import check_dataset
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.forecast import Forecast, forecast
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.plan.products import constants_of


def plan_recipe(path: str, overrides: Sequence[str] = ()) -> Forecast:
    """Return what `patchlake run` would do now. Sources that the lake does not know are probed, on the cluster."""
    recipe = load_recipe(path, overrides)
    with open_cluster(recipe) as cluster:
        session = Session(
            Dataset.open(recipe), cluster, is_checked=True
        )  # the check writes to the lake; a plan only reads
        sources = discover(recipe.corpus)  # before the first probe starts the cluster: errors are reported early
        if root_attrs(session.dataset.lake) is not None:
            check_dataset(session.dataset.lake, constants_of(recipe))
        survey = survey_sources(session, sources)
        return forecast(session.dataset, survey, make_plan(session.dataset, survey, session.workers))


def show(found: Forecast, *, diff: bool) -> None:
    """Print a forecast as a table; `diff` adds what differs from the lake."""
    console = Console()
    table = Table(title=f"plan for {found.lake}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
    sources = ", ".join(f"{count} {status}" for status, count in found.sources.items())
    table.add_row("sources", sources + (f" ({reasons})" if reasons else ""))
    for line in accounts(found.unmatched, found.left_out):
        table.add_row("", line)
    table.add_row("tracks, clips", f"{found.tracks:,} tracks, {found.clips:,} clips known before decoding")
    table.add_row("spans", f"{found.spans_new:,} to store, {found.spans_reused:,} in the lake")
    padding = f"padding {found.padding:.1%}"
    table.add_row("work", f"{found.rows:,} rows in {found.slots:,} slots, {found.units:,} units; {padding}")
    hours = "no earlier run to estimate from" if found.work_hours is None else f"about {_hours(found.work_hours)}"
    table.add_row("time", f"{_hours(found.video_hours)} of video; {hours}")
    table.add_row(
        "area", f"crop loses {found.area_lost:.1%} of the source, letterbox leaves {found.area_black:.1%} black"
    )
    for product in found.products:
        table.add_row(product.name, _product(product))
    console.print(table)
    if diff:
        console.print("\n".join(found.differences) or "nothing differs from the lake", highlight=False)


def _product(product: Any) -> str:
    parts = [
        f"{count:,} slots {what}"
        for count, what in (
            (product.slots_new, "new"), (product.slots_redone, "redone"), (product.slots_reused, "reused"),
        )
        if count
    ]  # fmt: skip
    size = f"{product.bytes_raw / 1e6:,.1f} MB before compression"
    if product.bytes_expected is not None:
        size += f", about {product.bytes_expected / 1e6:,.1f} MB on disk"
    return ", ".join(parts or ["nothing"]) + (f"; {size}" if product.bytes_raw else "")


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 3600:,.0f} s"
