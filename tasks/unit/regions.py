"""The table `regions`: one row per region of stored labels, linked over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchlake.tasks.features.regions import linking, rows
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.lake import schema
from patchlake.tasks.lake.product import Product
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.types import Placement

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RegionWork:
    """What is missing in the table for one `regions` feature."""

    entry: RegionsSpec
    product: Product
    known: tuple[Row, ...]
    """Existing rows to keep."""
    parts: tuple[rows.Part, ...]
    """Stored labels that workers have to describe (`rows.describe`)."""


def region_entries(dataset: Dataset) -> list[RegionsSpec]:
    """Return the recipe's `regions` features."""
    return [entry for entry in dataset.recipe.features if isinstance(entry, RegionsSpec)]


def region_work(dataset: Dataset, placements: Iterable[Placement]) -> list[RegionWork]:
    """Return, by feature, which committed ones of these spans are missing in the table.

    Spans already in it are not read again. If tracks follow regions, only the regions of whole frames are used.
    """
    paths = schema.paths_of(dataset.tables.tracks.rows(), dataset.tables.track_boxes.rows())
    tracks = dataset.recipe.tracks
    if tracks != "frame" and tracks.are_found:
        placements = [p for p in placements if paths[p.track] is None]
    placements, layout, ledger = tuple(placements), dataset.layout, dataset.ledger
    all_rows, found = dataset.tables.regions.rows(), []
    for entry in region_entries(dataset):
        if (product := dataset.products.get(entry.name)) is None:
            continue
        done = {p.span.span_key: p for p in placements if ledger.complete(p, (product.name,), layout)}
        known = [row for row in all_rows if row["product_digest"] == product.digest and row["span_key"] in done]
        described = {row["span_key"] for row in known}
        parts = [
            part
            for key, p in done.items()
            if key not in described
            for part in rows.parts_of(p, ledger.videos[p.span.video_id], paths[p.track], slot_frames=layout.slot_frames)
        ]
        found.append(RegionWork(entry=entry, product=product, known=tuple(known), parts=tuple(parts)))
    return found


def describe_job(dataset: Dataset, work: RegionWork) -> rows.Job:
    """Return what workers need to describe the parts."""
    return rows.Job(
        lake=dataset.lake,
        product=work.product,
        entry=work.entry,
        frames=dataset.recipe.frames.grid,
        patches=dataset.recipe.patches.grid,
    )


def write_regions(
    dataset: Dataset, works: Sequence[RegionWork], described: Mapping[str, Sequence[Row]]
) -> tuple[int, bool]:
    """Write kept rows and newly described ones (by feature); return the table's length, and whether it changed."""
    names = {work.entry.name for work in works}
    found = [row for row in dataset.tables.regions.rows() if row["product"] not in names]
    for work in works:
        mine = [*work.known, *described.get(work.entry.name, ())]
        found += linking.linked(mine, window=work.entry.window, overlap=work.entry.overlap)
    return len(found), dataset.tables.regions.overwrite(found)
