"""Clips found in what is stored: the scores of a span's rows, cut by a recipe's `shots` or `scores`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlake.tasks.clips import segment
from patchlake.tasks.clips.cut import Part, Scores, Shots
from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.product import Product
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import Placement


def find(
    lake: Location, product: Product, placement: Placement, method: Shots | Scores, searched: Sequence[Part]
) -> list[Part]:
    """Return the ranges that a method finds in the searched parts of a committed span, each with its label."""
    first, stop = placement.row_start // product.time_stride, -(-placement.row_stop // product.time_stride)
    track = np.asarray(arrays.open_array(lake, f"{product.name}/track")[first:stop])
    mine = track == placement.track
    seconds = np.asarray(arrays.open_array(lake, f"{product.name}/seconds")[first:stop])[mine]
    values = np.asarray(arrays.open_array(lake, f"{product.name}/{product.array}")[first:stop], np.float64)[mine]
    found = []
    for part in searched:
        inside = (seconds >= part.start) & (seconds < part.stop)
        if not inside.any():
            continue
        times, rows = seconds[inside], values[inside]
        if isinstance(method, Shots):
            channels = {name: rows[:, 0, 0, i] for i, name in enumerate(product.channels)}
            ranges = segment.shots(method, times, channels, stop_seconds=part.stop)
        else:
            pooled = segment.pooled(rows, product.channels, channel=method.channel, pool=method.pool)
            ranges = segment.events(method, times, pooled, stop_seconds=part.stop)
            part = part._replace(label=method.label or part.label)
        found += [part._replace(start=start, stop=stop) for start, stop in ranges]
    return found
