"""Recording a plan: decisions are stored before any work, so that a re-run repeats them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from patchlake.tasks import tracks
from patchlake.tasks.lake import arrays, coordinates, create, schema
from patchlake.tasks.lake.committed import committed_slots
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.plan.verdicts import Judged, verdicts
from patchlake.tasks.types import PIXELS, IntArray, Track


def record(dataset: Dataset, survey: Survey, plan: Plan) -> Judged:
    """Write current sources, new videos, tracks and spans; then grow the arrays. Return the sources' verdicts.

    The order matters: a row refers only to rows that already exist, and a killed run continues from there.
    """
    tables, ledger = dataset.tables, dataset.ledger
    new_videos = [video for key, video in survey.videos.items() if key not in ledger.videos]
    tables.videos.append(schema.video_row(video) for video in sorted(new_videos, key=lambda v: v.video_id))
    judged = record_sources(dataset, survey, plan)
    numbered = sorted(plan.new_tracks.items(), key=lambda item: item[1])
    new_tracks = [(number, survey.wanted[key].track) for key, number in numbered]
    _record_boxes(dataset, survey, plan)
    tables.tracks.append(schema.track_row(number, t, _to_source(dataset, survey, t)) for number, t in new_tracks)
    tables.spans.append(schema.placement_row(placement) for placement in plan.new)
    ledger.placements |= {placement.span.span_key: placement for placement in plan.new}
    _drop_old_failures(dataset)  # after the spans: until a new placement is known, the old verdict is valid
    make_room(dataset, plan)
    return judged


def _record_boxes(dataset: Dataset, survey: Survey, plan: Plan) -> None:
    """Add the boxes of tracks that move, where a track is new or its boxes are missing.

    Boxes whose track is unknown are what a run left that was killed before it wrote its tracks: they go.
    """
    table, known = dataset.tables.track_boxes, dataset.ledger.tracks
    held = set(table.read(["track"])["track"].to_pylist())
    whole = held & set(known.values())
    numbers = sorted((number, key) for key, number in {**known, **plan.new_tracks}.items() if key in survey.wanted)
    rows = [
        row
        for number, key in numbers
        if number not in whole
        for row in schema.box_rows(number, survey.wanted[key].track)
    ]
    if held == whole:
        table.append(rows)
    else:
        table.overwrite([*(row for row in table.rows() if row["track"] in whole), *rows])


def record_sources(dataset: Dataset, survey: Survey, plan: Plan) -> Judged:
    """Bring `sources` and `annotations` up to date; return every source with its verdict."""
    judged = verdicts(dataset, survey, plan)
    dataset.tables.sources.overwrite(schema.source_row(source, video_id) for source, video_id in judged)
    dataset.tables.annotations.overwrite(row for pair in judged for row in schema.annotation_rows(*pair))
    return judged


def make_room(dataset: Dataset, plan: Plan) -> None:
    """Make the wanted arrays, as long as the plan needs them; their rows without receipts are empty."""
    lake, slot_frames = dataset.lake, plan.layout.slot_frames
    committed = committed_slots(dataset.tables)
    with_pts = dataset.recipe.frames.rate is not None
    create.ensure_arrays(lake, dataset.products.values(), with_pts=with_pts, committed=committed)
    _clear_uncommitted(dataset, committed)
    num_slots = max(plan.num_slots, dataset.ledger.first_free_slot)
    create.grow(lake, num_slots, slot_frames=slot_frames)


def _clear_uncommitted(dataset: Dataset, committed: Mapping[str, IntArray]) -> None:
    """Empty the coordinates of slots without receipts: a run wrote them that was killed before it committed.

    Its units may never be run again, or without some of their spans. The index of `pixels` is that of all products.
    """
    everywhere = np.unique(np.concatenate([np.empty(0, np.int64), *committed.values()]))
    for name in {PIXELS, *arrays.product_names(dataset.lake)}:
        rows_per_slot = dataset.layout.slot_frames // ProductRows(dataset.lake, name).time_stride
        slots = everywhere if name == PIXELS else committed.get(name, everywhere[:0])
        coordinates.clear_times(dataset.lake, name, slots, rows_per_slot=rows_per_slot)


def _drop_old_failures(dataset: Dataset) -> None:
    """Keep only the rows of `failures` that are about the current placements of spans."""
    ledger, r = dataset.ledger, dataset.layout.slot_frames
    dataset.tables.failures.overwrite(
        row
        for row in dataset.tables.failures.rows()
        if row["span_key"] in ledger.written.get(row["row_start"] // r, ()) and ledger.is_about(row)
    )


def _to_source(dataset: Dataset, survey: Survey, track: Track) -> tracks.Affine | None:
    """Return the mapping from frame-grid to source pixels; None: the box moves."""
    if track.boxes is not None and track.boxes.seconds:
        return None
    source, grid = survey.frame_sources[track.video_id], dataset.recipe.frames.grid
    return tracks.to_source(tracks.geometry_at(track.boxes, 0.0, source, size=grid.size, fit=grid.fit))
