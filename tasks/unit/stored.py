"""Frames that the lake holds already, as blocks of a unit's run."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from patchlake.tasks.lake import arrays
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS
from patchlake.tasks.video.frames import Block


def stored(lake: Location, *, row_start: int, row_stop: int, tick: Fraction) -> Iterator[Block]:
    """Yield stored frames of pixel rows [row_start, row_stop) that hold any, a chunk at a time."""
    frames = arrays.open_pixels(lake)
    seconds = np.asarray(arrays.open_array(lake, f"{PIXELS}/seconds")[row_start:row_stop])
    track = np.asarray(arrays.open_array(lake, f"{PIXELS}/track")[row_start:row_stop])
    step = frames.chunks[0]
    for first in range(row_start, row_stop, step):
        stop = min(first + step, row_stop)
        there = track[first - row_start : stop - row_start] >= 0
        if there.any():
            times = seconds[first - row_start : stop - row_start][there]
            yield np.asarray(frames[first:stop])[there], np.rint(times / float(tick)).astype(np.int64)
