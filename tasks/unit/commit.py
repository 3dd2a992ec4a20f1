"""Committing: makes written rows exist. One writer, in a fixed order: coordinates, rows of other tables, receipts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from patchlake.tasks import failpoints, pts
from patchlake.tasks.lake import coordinates, schema
from patchlake.tasks.lake.coordinates import RowTimes
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.ledger import SlotSet
from patchlake.tasks.plan.planner import clips_by_span
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import (
    PIXELS,
    Clip,
    FrameSource,
    PieceFrames,
    Placement,
    UnitResult,
)
from patchlake.tasks.video import frames

GROUP_RECEIPTS = 256
GROUP_SECONDS = 2.0


class Committer:
    """Collects results of units and commits them in groups; thread-safe."""

    def __init__(self, dataset: Dataset, survey: Survey, plan: Plan) -> None:
        self._dataset = dataset
        self._sources = survey.frame_sources
        self._layout = plan.layout
        self._pending: list[UnitResult] = []
        self._since = 0.0
        self._lock = threading.Lock()
        self._clips = dict(clips_by_span(survey, plan))
        """Clips of spans not yet complete; entries are dropped once committed, so that memory stays flat."""
        self._known_clips = {row["clip_id"] for row in dataset.tables.clips.rows(["clip_id"])}

    def add(self, result: UnitResult) -> None:
        """Add one unit's result; commit if the group is full or old enough."""
        with self._lock:
            if not self._pending:
                self._since = time.monotonic()
            self._pending.append(result)
            full = sum(len(r.receipts) for r in self._pending) >= GROUP_RECEIPTS
            if full or time.monotonic() - self._since >= GROUP_SECONDS:
                self._commit()

    def flush_old(self) -> None:
        """Commit pending results if old enough: deferred units wait for them, even if no new result comes."""
        with self._lock:
            if time.monotonic() - self._since >= GROUP_SECONDS:
                self._commit()

    def flush(self) -> None:
        """Commit all pending results."""
        with self._lock:
            self._commit()

    def _commit(self) -> None:
        if not self._pending:
            return
        results = sorted(self._pending, key=lambda r: r.unit_id)
        self._pending = []
        tables, ledger = self._dataset.tables, self._dataset.ledger
        coordinates.write_times(self._dataset.lake, (times for result in results for times in self._times(result)))
        failpoints.reach("coordinates_written")
        for result in results:
            for receipt in result.receipts:
                ledger.done.setdefault(receipt.product, SlotSet()).update(receipt.slots)
        failures = [row for result in results for row in self._failures(result)]
        tables.failures.append(failures)
        for row in failures:
            ledger.note_surplus(row)
        tables.clips.append(self._new_clips(results))
        failpoints.reach("table_rows_written")
        tables.receipts.append(schema.receipt_row(receipt) for result in results for receipt in result.receipts)
        failpoints.reach("receipts_written")

    def _new_clips(self, results: Sequence[UnitResult]) -> list[dict[str, Any]]:
        """Return the new rows of `clips` in the spans that these results complete."""
        ledger, products = self._dataset.ledger, self._dataset.products
        touched = sorted({piece.span_key for result in results for piece in result.frames})
        placements = [ledger.placements[key] for key in touched]
        complete = [p for p in placements if ledger.complete(p, products, self._layout)]
        clips = {p.span.span_key: self._clips.pop(p.span.span_key, ()) for p in complete}
        found = clip_rows(self._dataset.lake, complete, clips)
        return [row for row in found if row["clip_id"] not in self._known_clips]

    def _times(self, result: UnitResult) -> list[RowTimes]:
        found = [self._index_times(piece) for piece in result.frames if piece.ticks]
        for receipt in result.receipts:
            for piece in receipt.pieces:
                if receipt.product != PIXELS:
                    found.append(self._row_times(receipt.product, piece.span_key, piece.row_start, piece.ticks))
        return found

    def _index_times(self, piece: PieceFrames) -> RowTimes:
        """Return the times of pixel rows, which every dataset has, even if it keeps no frames."""
        times = self._row_times(PIXELS, piece.span_key, piece.row_start, piece.ticks)
        if not piece.pts:
            return times
        _, source = self._span(piece.span_key)
        return replace(
            times, pts_seconds=pts.seconds_of(pts.unpack(piece.pts), source.time_base, first_pts=source.first_pts)
        )

    def _row_times(self, product: str, span_key: str, row_start: int, ticks: bytes) -> RowTimes:
        placement, source = self._span(span_key)
        tick = frames.tick_seconds(source, self._dataset.recipe.frames.rate)
        return RowTimes(
            product=product,
            row_start=row_start,
            track=placement.track,
            seconds=pts.seconds_of(pts.unpack(ticks), tick),
        )

    def _failures(self, result: UnitResult) -> list[dict[str, Any]]:
        slot_frames, placements = self._layout.slot_frames, self._dataset.ledger.placements
        return [
            schema.failure_row(piece, placements[piece.span_key], slot_frames=slot_frames)
            for piece in result.frames
            if piece.reason is not None
        ]

    def _span(self, span_key: str) -> tuple[Placement, FrameSource]:
        placement = self._dataset.ledger.placements[span_key]
        return placement, self._sources[placement.span.video_id]


def clip_rows(
    lake: Location, placements: Sequence[Placement], clips: Mapping[str, Sequence[Clip]]
) -> list[dict[str, Any]]:
    """Return the rows of `clips` for committed spans: which rows lie in [start, stop) of each clip."""
    if not placements:
        return []
    low, high = min(p.row_start for p in placements), max(p.row_stop for p in placements)
    all_times = ProductRows(lake, PIXELS).index(low, high).seconds
    found = []
    for placement in placements:
        inside = clips.get(placement.span.span_key, ())
        times = all_times[placement.row_start - low : placement.row_stop - low]
        there = np.flatnonzero(~np.isnan(times))
        for clip in inside:
            i, j = np.searchsorted(times[there], [clip.start_seconds, clip.stop_seconds], side="left")
            first = placement.row_start + (int(there[i]) if i < j else 0)
            stop = placement.row_start + (int(there[j - 1]) + 1 if i < j else 0)
            found.append(schema.clip_row(clip, placement, first, stop))
    return found
