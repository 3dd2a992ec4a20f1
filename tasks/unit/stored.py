"""Frames that the lake holds already, as blocks of a unit's run."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS
from patchlake.tasks.video.frames import Block


def stored(lake: Location, *, row_start: int, row_stop: int, tick: Fraction) -> Iterator[Block]:
    """Yield stored frames of pixel rows [row_start, row_stop) that hold any, a chunk at a time."""
    for rows in ProductRows(lake, PIXELS).chunks(row_start, row_stop):
        yield rows.values, np.rint(rows.seconds / float(tick)).astype(np.int64)
