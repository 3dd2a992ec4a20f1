"""The report's text and numbers: what ran, which sources are not ok, how to open the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from patchlake.tasks.figures import RunFigures
from patchlake.tasks.lake import layout
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

MAX_SOURCES = 50
_WORST_FIRST = ("failed", "partial", "rejected", "skipped", "duplicate")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run, as its report shows it."""

    run_id: str
    started: datetime
    version: str
    figures: RunFigures


def bad_sources(tables: Tables) -> tuple[list[dict[str, str]], int]:
    """Return up to MAX_SOURCES sources that are not ok, worst first, and how many there are in all."""
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
