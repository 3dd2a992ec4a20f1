"""Sources of a unit's frames: a decode, a decode shared by several spans, or stored pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.lake import shards
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.types import PIXELS, FrameGrid, FrameSource, ReadRange
from patchlake.tasks.video import frames
from patchlake.tasks.video.decoder import Decoder, DecodeRequest
from patchlake.tasks.video.frames import Block, Ticker


@dataclass(frozen=True)
class Part:
    """The rows of a read range that are read after one seek."""

    read_range: ReadRange
    start: int
    """First row, counted in the span."""
    stop: int
    ticker: Ticker

    def request(self, source: FrameSource, grid: FrameGrid) -> DecodeRequest:
        """Return the request to the decoder."""
        return frames.request_of(self.read_range, source, grid, start=self.start, stop=self.stop)


def decoded(
    decoder: Decoder, parts: Sequence[Part], source: FrameSource, grid: FrameGrid, lake: Location
) -> list[Iterator[Block]]:
    """Return the frames of each part, from one decode; several parts are spooled to files in the scratch folder."""
    if len(parts) == 1:
        return [frames.decoded(decoder, parts[0].request(source, grid), parts[0].ticker)]
    folder, broken = shards.scratch_folder(lake), None
    spools = [frames.Spool(folder, grid.size, part.ticker) for part in parts]
    try:
        frames.spooled(decoder, [part.request(source, grid) for part in parts], spools)
    except Unreachable:
        raise
    except DecodeError as error:
        broken = error
    return [_then_raise(spool.blocks(), broken) for spool in spools]


def _then_raise(blocks: Iterator[Block], error: DecodeError | None) -> Iterator[Block]:
    """Yield a part's frames, then raise what broke the decode, so that it is recorded with the right pieces."""
    yield from blocks
    if error is not None:
        raise error


def stored(lake: Location, *, row_start: int, row_stop: int, tick: Fraction) -> Iterator[Block]:
    """Yield the stored ones of the pixel rows [row_start, row_stop), a chunk at a time.

    `tick` is the length of one tick in seconds: the store holds seconds, blocks carry ticks.
    """
    for rows in ProductRows(lake, PIXELS).chunks(row_start, row_stop):
        yield rows.values, np.rint(rows.seconds / float(tick)).astype(np.int64)
