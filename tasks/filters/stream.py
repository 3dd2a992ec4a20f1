"""Runs the frames of a read range through a chain of filters while they are decoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from patchlake.tasks import filters, pts
from patchlake.tasks.filters.filter import Filter, Scene
from patchlake.tasks.types import FrameArray, FrameGrid, FrameSource, IntArray, ReadRange
from patchlake.tasks.video.frames import Block, Clock, Ticker

Call = Callable[[Filter, FrameArray, IntArray], FrameArray]
"""Calls a filter with (before + n + after) frames and their ticks."""
_AT_ONCE = 16
"""Minimum frames per call of a filter, except at the end: its context is copied once per call."""


@dataclass
class Filtering:
    """The filters of a unit, and the time they took."""

    filters: Sequence[Filter]
    grid: FrameGrid
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def context_frames(self) -> tuple[int, int]:
        """Frames that they need together before and after each frame."""
        return filters.context_of(self.filters)

    def __call__(
        self, blocks: Iterator[Block], read_range: ReadRange, source: FrameSource, *, clock: Clock, ticker: Ticker
    ) -> Iterator[Block]:
        """Yield a range's frames filtered."""

        def call(one: Filter, frames: FrameArray, ticks: IntArray) -> FrameArray:
            wall, cpu = time.perf_counter(), time.thread_time()
            seconds = pts.seconds_of(ticker.pts_at(ticks), source.time_base, first_pts=source.first_pts)
            out = one(frames, Scene(source=source, boxes=read_range.boxes, grid=self.grid, seconds=seconds))
            self.wall_seconds += time.perf_counter() - wall
            self.cpu_seconds += time.thread_time() - cpu
            return out

        return filtered(blocks, self.filters, call, clock=clock)


def filtered(blocks: Iterator[Block], filters: Sequence[Filter], call: Call, *, clock: Clock) -> Iterator[Block]:
    """Yield a stream's frames filtered.

    A frame's context is its neighbours; past the stream's ends, and at a missing planned frame, the end frame is
    repeated. So a frame's result does not depend on where the stream begins and ends, as long as the stream holds the
    frame's context for all filters. Frames that lack it must not be used, except at the span's own ends.
    """
    for one in filters:
        blocks = _Stage(one, call, clock).run(blocks)
    return blocks


class _Stage:
    """One filter in the chain."""

    def __init__(self, one: Filter, call: Call, clock: Clock) -> None:
        self._one, self._call, self._clock = one, call, clock
        self._before, self._after = one.context_frames
        self._held: list[FrameArray] = []
        self._ticks: list[int] = []

    def run(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Yield a stream's frames, filtered."""
        for frames, ticks in blocks:
            for frame, tick in zip(frames, ticks.tolist(), strict=True):
                if self._ticks and self._clock.misses_between(self._ticks[-1], tick):
                    yield from self._end()
                self._hold(frame.copy(), tick, times=1 if self._ticks else self._before + 1)
            if len(self._held) - self._before - self._after >= _AT_ONCE:
                yield self._next()
        if self._ticks:
            yield from self._end()

    def _hold(self, frame: FrameArray, tick: int, *, times: int) -> None:
        self._held += [frame] * times
        self._ticks += [tick] * times

    def _end(self) -> Iterator[Block]:
        """Yield the remaining frames, and reset."""
        self._hold(self._held[-1], self._ticks[-1], times=self._after)
        if len(self._held) > self._before + self._after:
            yield self._next()
        self._held, self._ticks = [], []

    def _next(self) -> Block:
        """Return the frames whose context is complete, and drop the frames that no later one needs."""
        count = len(self._held) - self._before - self._after
        ticks = np.array(self._ticks, dtype=np.int64)
        out = self._call(self._one, np.stack(self._held), ticks)
        del self._held[:count], self._ticks[:count]
        return out, ticks[self._before : self._before + count]
