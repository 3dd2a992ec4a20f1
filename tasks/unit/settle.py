"""Settling: once the units are done, every source gets its verdict, and `clips` is made to match the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.planner import clips_by_span
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.plan.verdicts import Judged
from patchlake.tasks.types import Clip, Placement
from patchlake.tasks.unit.commit import clip_rows
from patchlake.tasks.unit.found_clips import add_found_clips
from patchlake.tasks.unit.record import record_sources

Row = dict[str, Any]


class Settled(NamedTuple):
    """State of a dataset once its units are done."""

    judged: Judged
    num_clips: int


def settle(dataset: Dataset, survey: Survey, plan: Plan) -> Settled:
    """Bring `clips` and `sources` up to date, then compact all tables. Changed labels and ranges only edit tables."""
    done = [p for p in plan.placements if dataset.ledger.complete(p, dataset.products, plan.layout)]
    clips = clips_by_span(survey, plan)
    add_found_clips(dataset, survey, done, clips)
    rows = _clip_rows(dataset, done, clips)
    dataset.tables.clips.overwrite(rows)
    judged = record_sources(dataset, survey, plan)
    for table in dataset.tables:
        table.tend()
    return Settled(judged, len(rows))


def _clip_rows(dataset: Dataset, done: Sequence[Placement], clips: Mapping[str, Sequence[Clip]]) -> list[Row]:
    """Return the rows of `clips` for committed spans: known ones with their current labels, and new ones."""
    known = {(row["clip_id"], row["span_key"], row["track"]): row for row in dataset.tables.clips.rows()}
    rows: list[Row] = []
    missing = []
    for placement in done:
        key, track = placement.span.span_key, placement.track
        wanted = clips[key]
        found = [known.get((clip.clip_id, key, track)) for clip in wanted]
        if all(row and placement.row_start <= row["row_start"] <= placement.row_stop for row in found):
            pairs = zip(found, wanted, strict=True)
            rows += [{**row, "label": c.label, "targets": list(c.targets)} for row, c in pairs if row]
        else:
            missing.append(placement)
    rows += clip_rows(dataset.lake, missing, clips)
    return sorted(rows, key=lambda row: (row["track"], row["start_seconds"], row["stop_seconds"]))
