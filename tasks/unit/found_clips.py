"""Clips found in what is stored: the scores of a span's rows, cut by a recipe's `shots` or `scores`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlake.tasks.clips import cut, segment
from patchlake.tasks.clips.cut import Part, Scores, Shots
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import Clip, Placement


def add_found_clips(dataset: Dataset, survey: Survey, done: Sequence[Placement], clips: dict[str, list[Clip]]) -> None:
    """Add to `clips` (by span_key) what the recipe's `shots` and `scores` find in the scores of committed spans."""
    for method in dataset.recipe.clips:
        if isinstance(method, Shots | Scores):
            product = dataset.products[method.product]
            for placement in done:
                wanted = survey.wanted[placement.span.track_id]
                found = find(dataset.lake, product, placement, method, wanted.searched)
                known = {clip.clip_id for clip in clips[placement.span.span_key]}
                new = [cut.clip_of(wanted.track, part.start, part.stop, part) for part in found]
                clips[placement.span.span_key] += [clip for clip in new if clip.clip_id not in known]


def find(
    lake: Location, product: Product, placement: Placement, method: Shots | Scores, searched: Sequence[Part]
) -> list[Part]:
    """Return the ranges that a method finds in the searched parts of a committed span, each with its label."""
    stored = ProductRows(lake, product.name)
    first, stop = stored.of_pixel_rows(placement.row_start, placement.row_stop)
    rows = stored.read(first, stop).of_track(placement.track)
    values = rows.values.astype(np.float64)
    found = []
    for part in searched:
        inside = rows.within(placement.track, part.start, part.stop)
        if not inside.any():
            continue
        times, scores = rows.seconds[inside], values[inside]
        if isinstance(method, Shots):
            channels = {name: scores[:, 0, 0, i] for i, name in enumerate(product.channels)}
            ranges = segment.shots(method, times, channels, stop_seconds=part.stop)
        else:
            pooled = segment.pooled(scores, product.channels, channel=method.channel, pool=method.pool)
            ranges = segment.events(method, times, pooled, stop_seconds=part.stop)
            part = part._replace(label=method.label or part.label)
        found += [part._replace(start=start, stop=stop) for start, stop in ranges]
    return found
