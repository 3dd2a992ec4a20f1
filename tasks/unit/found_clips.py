"""Clips found in stored rows: those of a span, searched by the recipe's methods `shots` or `scores`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlake.tasks.clips import cut
from patchlake.tasks.clips.method import ClipMethod, Part, StoredScores
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import Clip, Placement


def add_found_clips(dataset: Dataset, survey: Survey, done: Sequence[Placement], clips: dict[str, list[Clip]]) -> None:
    """Add to `clips` (by span_key) the clips that the recipe's methods find in the stored rows of committed spans."""
    for method in dataset.recipe.clips:
        if method.searches is not None:
            product = dataset.products[method.searches]
            for placement in done:
                wanted = survey.wanted[placement.span.track_id]
                found = find(dataset.lake, product, placement, method, wanted.searched)
                known = {clip.clip_id for clip in clips[placement.span.span_key]}
                new = [cut.clip_of(wanted.track, part.start, part.stop, part) for part in found]
                clips[placement.span.span_key] += [clip for clip in new if clip.clip_id not in known]


def find(
    lake: Location, product: Product, placement: Placement, method: ClipMethod, searched: Sequence[Part]
) -> list[Part]:
    """Return the ranges that a method finds in the searched parts of a committed span, each with its label."""
    stored = ProductRows(lake, product.name)
    first, stop = stored.of_pixel_rows(placement.row_start, placement.row_stop)
    rows = stored.read(first, stop).of_track(placement.track)
    values = rows.values.astype(np.float64)
    found = []
    for part in searched:
        inside = rows.within(placement.track, part.start, part.stop)
        if inside.any():
            scores = StoredScores(seconds=rows.seconds[inside], values=values[inside], channels=product.channels)
            found += method.search(scores, part)
    return found
