"""The report's words and numbers: what ran, what came out, what did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from patchlake.tasks.keys import digest
from patchlake.tasks.lake import layout
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS

MAX_SOURCES = 50
_WORST_FIRST = ("failed", "partial", "rejected", "skipped", "duplicate")
_NO_EFFECT = {"cluster", "schedule", "lake", "corpus"}
"""Parts of a recipe that change nothing on the page unless they change the tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run, as its report tells it."""

    run_id: str
    started: datetime
    version: str
    figures: Mapping[str, Any]
    seconds: Mapping[str, float]
    """Wall time of each stage."""


def page_key(tables: Tables, recipe: Recipe, figures: Mapping[str, Any], version: str) -> str:
    """Return what a page is made from: table versions, recipe, training. Equal keys, nothing to draw anew."""
    deltas = [table.delta for table in (tables.sources, tables.clips, tables.receipts)]
    versions = [None if delta is None else delta.version() for delta in deltas]
    train = figures.get("train") or {}
    wanted = recipe.model_dump(mode="json", exclude=_NO_EFFECT)
    return digest("report", version, versions, wanted, train.get("key"), train.get("skipped"))


def figure_rows(run: Run, recipe: Recipe) -> list[tuple[str, str]]:
    """Return the run's figures as (name, sentence)."""
    figures = run.figures
    sources = ", ".join(f"{count:,} {status}" for status, count in sorted(figures.get("sources", {}).items()))
    rows = [("sources", sources or "none"), ("clips", f"{figures.get('clips', 0):,}")]
    ingest = figures.get("ingest")
    if ingest is None:
        rows.append(("rows", "none new: nothing was decoded, all is in the lake"))
    else:
        rows += _ingest_rows(ingest)
    for reduction in recipe.reduce:
        if reduction.name in figures:
            rows.append((reduction.name, ", ".join(f"{k} {v:,}" for k, v in figures[reduction.name].items())))
    seconds = dict(run.seconds)
    times = ", ".join(f"{name} {value:,.1f}" for name, value in seconds.items())
    return [*rows, ("wall time by stage", f"{times} seconds; {sum(seconds.values()):,.1f} in all")]


def _ingest_rows(ingest: Mapping[str, Any]) -> list[tuple[str, str]]:
    decoded, again = ingest.get("frames decoded", 0), ingest.get("frames re-decoded", 0)
    rows = [
        ("rows", f"{ingest['rows']:,} new, in {ingest['units']:,} units"),
        ("bytes", f"{ingest.get('bytes', 0) / 1e6:,.1f} MB written"),
        ("padding", f"{ingest['padding']:.1%} of the rows of new slots"),
        ("decoding", f"{decoded:,} frames, {again:,} of them again"),
    ]
    if "measured / light" in ingest:
        speed = f"{ingest['frames/s']:,.0f} frames/s; speed of light {ingest['light frames/s']:,.0f} frames/s"
        rows += [("speed", speed), ("ingest: measured / light", f"{ingest['measured / light']:.2f}")]
    if spent := time_spent(ingest):
        rows.append(("time of the workers", f"{shares(spent)}; {sum(spent.values()):,.1f} seconds in all"))
    if "features measured / light" in ingest:
        rows.append(("features: measured / light", f"{ingest['features measured / light']:.2f}"))
    return rows


def time_spent(ingest: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds that workers spent on units, by part, and waited before them; nothing for figures without.

    `other` is what lies between a unit's parts: opening, seeking, moving shards into place, and time in which an
    extractor did not have the core.
    """
    if "busy seconds" not in ingest:
        return {}
    parts = {"decode": _sum_of(ingest, "decode ")}
    for name, seconds in ingest.items():
        if name.startswith("compute ") and seconds > 0:
            product = name.removeprefix("compute ")
            parts["filters" if product == PIXELS else product] = seconds
    parts["write"] = _sum_of(ingest, "write ")
    parts["other"] = max(0.0, ingest["busy seconds"] - sum(parts.values()))
    return {**parts, "wait": _sum_of(ingest, "wait ")}


def shares(spent: Mapping[str, float]) -> str:
    """Return parts of a whole as words: "decode 61%, write 39%"."""
    total = sum(spent.values()) or 1.0
    return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in spent.items())


def _sum_of(ingest: Mapping[str, Any], prefix: str) -> float:
    return float(sum(seconds for name, seconds in ingest.items() if name.startswith(prefix)))


def bad_sources(tables: Tables) -> tuple[list[dict[str, str]], int]:
    """Return the first of the sources that are not ok, worst first, and how many there are."""
    table = tables.sources.read(["uri", "status", "reason", "message"])
    table = table.filter(pc.not_equal(table["status"], "ok"))
    rank = pc.index_in(table["status"], pa.array(_WORST_FIRST))
    table = table.append_column("rank", rank).sort_by([("rank", "ascending"), ("uri", "ascending")])
    rows: list[dict[str, Any]] = table.slice(0, MAX_SOURCES).to_pylist()
    found = [{name: str(row[name] or "") for name in ("uri", "status", "reason", "message")} for row in rows]
    return found, table.num_rows


def opening(lake: Location) -> str:
    """Return Python lines that open the lake."""
    options = f", storage_options={lake.delta_options}" if lake.delta_options else ""
    if lake.is_local:
        arrays = f'xarray.open_datatree(lake + "/{layout.ARRAYS}", engine="zarr")'
        head = "import deltalake, duckdb, xarray"
    else:
        plain = ', client_options={"allow_http": True}' if lake.delta_options else ""
        store = f'S3Store.from_url(lake + "/{layout.ARRAYS}"{plain})'
        arrays = f'xarray.open_datatree(ObjectStore({store}, read_only=True), engine="zarr")'
        head = "import deltalake, duckdb, xarray\n"
        head += "from obstore.store import S3Store\nfrom zarr.storage import ObjectStore"
    return "\n".join([
        head,
        f"lake = {lake.url!r}",
        f'tree = {arrays}  # tree["pixels/frames"]: time, y, x, channel',
        f'clips = deltalake.DeltaTable(lake + "/{layout.table("clips")}"{options}).to_pyarrow_dataset()',
        'print(duckdb.sql("SELECT label, count(*) AS clips FROM clips GROUP BY label ORDER BY label"))',
    ])  # fmt: skip
