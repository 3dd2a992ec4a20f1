"""What becomes of a frame does not depend on the rows asked for, nor on how the stream is cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlake.tasks.filters import context_of
from patchlake.tasks.filters.filter import Filter, Scene
from patchlake.tasks.filters.stream import filtered
from patchlake.tasks.types import FrameArray, IntArray
from patchlake.tasks.video.frames import Block, Clock

ROWS = 60


class Around:
    """Sums each frame and its context with weights that tell the neighbours apart."""

    version = 1

    def __init__(self, before: int, after: int) -> None:
        self.context_frames = (before, after)
        self.digest_parts: dict[str, Any] = {}

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        width = sum(self.context_frames) + 1
        weights = np.arange(1, width + 1) * 7 % 256
        windows = np.lib.stride_tricks.sliding_window_view(frames[:, 0, 0, 0], width)
        return (windows * weights).sum(axis=1).astype(np.uint8)[:, None, None, None]


def loop(values: list[int], ticks: list[int], one: Around) -> list[int]:
    """Return what a filter makes of frames: neighbours are those without a missing row in between."""
    before, after = one.context_frames
    found = []
    for i in range(len(values)):
        first = last = i
        while first > 0 and not missing_between(ticks[first - 1], ticks[first]):
            first -= 1
        while last + 1 < len(values) and not missing_between(ticks[last], ticks[last + 1]):
            last += 1
        window = [values[min(max(k, first), last)] for k in range(i - before, i + after + 1)]
        found.append(sum((7 * (k + 1) % 256) * v for k, v in enumerate(window)) % 256)
    return found


def missing_between(tick: int, later: int) -> bool:
    return any(tick < 2 * row < later for row in range(ROWS))


def stream(values: list[int], ticks: list[int], sizes: list[int]) -> Iterator[Block]:
    first = i = 0
    while first < len(values):
        stop = first + sizes[i % len(sizes)]
        frames = np.array(values[first:stop], np.uint8)[:, None, None, None]
        yield frames, np.array(ticks[first:stop], np.int64)
        frames[:] = 255
        first, i = stop, i + 1


def call(one: Filter, frames: FrameArray, ticks: IntArray) -> FrameArray:
    return one(frames, None)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(
    chain=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3),
    missing=st.sets(st.integers(0, ROWS - 1), max_size=12),
    extra=st.sets(st.integers(0, ROWS - 1), max_size=4),
    wanted=st.tuples(st.integers(0, ROWS - 1), st.integers(1, ROWS)),
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=4),
)
def test_a_part_of_a_span_is_filtered_as_the_whole_of_it(
    chain: list[tuple[int, int]], missing: set[int], extra: set[int], wanted: tuple[int, int], sizes: list[int]
) -> None:
    """Frames may be missing, and others come that were not promised: ticks are even for planned rows, odd for those."""
    filters = [Around(*context) for context in chain]
    ticks = sorted({2 * r for r in range(ROWS) if r not in missing} | {2 * r + 1 for r in extra})
    values = [(13 * tick + tick * tick) % 256 for tick in ticks]
    expected = values
    for one in filters:
        expected = loop(expected, ticks, one)
    known = dict(zip(ticks, expected, strict=True))

    first, stop = wanted[0], min(ROWS, wanted[0] + wanted[1])
    before, after = context_of(filters)
    low, high = max(0, first - before), min(ROWS, stop + after)
    clock = Clock(2 * np.arange(ROWS, dtype=np.int64), 0, 2 * ROWS)
    asked = [i for i, tick in enumerate(ticks) if 2 * low <= tick < (2 * high if high < ROWS else 4 * ROWS)]
    blocks = filtered(stream([values[i] for i in asked], [ticks[i] for i in asked], sizes), filters, call, clock=clock)
    found = {int(t): int(f[0, 0, 0]) for frames, times in blocks for f, t in zip(frames, times, strict=True)}
    inside = [tick for tick in ticks if 2 * first <= tick < 2 * stop]
    assert {tick: found.get(tick) for tick in inside} == {tick: known[tick] for tick in inside}
    assert sorted(found) == list(found), "in order"
