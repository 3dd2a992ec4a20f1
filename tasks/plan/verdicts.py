"""Verdicts: the outcome for every source, from what is committed and from the rows of `failures`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from patchlake.tasks.errors import OURS
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import Source, Status

Judged = list[tuple[Source, str | None]]
"""Sources with their verdicts, each with its video's id."""


def verdicts(dataset: Dataset, survey: Survey, plan: Plan) -> Judged:
    """Return every source with its verdict, in the survey's order."""
    open_videos, wanted_videos = _open_videos(dataset, plan), _wanted_videos(survey)
    failed, num_rows = _failed(dataset, plan)
    lost = dataset.ledger.lost
    judged: Judged = []
    for source, video_id in survey.sources:
        if source.status in ("ok", "partial") and video_id is not None:
            if video_id in lost:
                source = replace(source, status="failed", reason="crash", message=lost[video_id])
            elif video_id not in wanted_videos:
                source = replace(source, status="skipped", message="no box or event of it is asked for")
            elif video_id in open_videos:
                source = replace(source, status="skipped", message=source.message or "not in the lake yet")
            elif video_id in failed:
                source = _failed_source(source, failed[video_id], num_rows[video_id])
            elif not num_rows.get(video_id):
                source = replace(source, status="rejected", reason="no_frames", message="no frame lies in its clips")
        judged.append((source, video_id))
    return judged


def _open_videos(dataset: Dataset, plan: Plan) -> set[str]:
    """Return the videos of which some product is not committed yet."""
    names = tuple(dataset.products)
    return {p.span.video_id for p in plan.placements if not dataset.ledger.complete(p, names, plan.layout)}


def _wanted_videos(survey: Survey) -> set[str]:
    return {wanted.track.video_id for wanted in survey.wanted.values() if wanted.ranges}


def _failed(dataset: Dataset, plan: Plan) -> tuple[dict[str, Mapping[str, Any]], dict[str, int]]:
    """Return video_id -> the first row of `failures` about it, and video_id -> the number of its stored rows."""
    num_rows: dict[str, int] = {}
    for placement in plan.placements:
        num_rows[placement.span.video_id] = num_rows.get(placement.span.video_id, 0) + placement.span.num_rows
    spans_now = {placement.span.span_key: placement for placement in plan.placements}
    failed: dict[str, Mapping[str, Any]] = {}
    rows = dataset.tables.failures.rows()
    for row in sorted(rows, key=lambda row: row["reason"] == "count_grew"):  # last: nothing was lost
        now = spans_now.get(row["span_key"])
        if now is not None and now.row_start <= row["row_start"] < now.row_stop:
            failed.setdefault(row["video_id"], row)
            num_rows[row["video_id"]] -= max(0, row["num_rows_planned"] - row["num_rows"])
    return failed, num_rows


def _failed_source(source: Source, failure: Mapping[str, Any], num_rows: int) -> Source:
    reason = failure["reason"]
    status: Status = "failed" if reason in OURS else "rejected"
    status = "partial" if num_rows else status
    status = "ok" if reason == "count_grew" else status
    return replace(source, status=status, reason=reason, message=failure["message"])
