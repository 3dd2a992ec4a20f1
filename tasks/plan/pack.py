"""Packing: where spans lie on the time axis. Pure arithmetic in a fixed order, so that a re-run repeats it.

R = 512, align = 8      slot 0            slot 1            slot 2            slot 3
long A 1100, B 800      AAAAAAAAAAAAAAAA  AAAAAAAAAAAAAAAA  AABBBBBBBBBBBBBB  BBBBBBBBBBB.....
short C 90                                                                           CCC
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from patchlake.tasks.grid import Layout


@dataclass(frozen=True, slots=True)
class Load:
    """Spans to place together: usually one, or those of several tracks that share a decode."""

    parts: tuple[tuple[str, int], ...]
    """(span_key, rows)."""

    def rows(self, layout: Layout) -> int:
        """Return how many rows they take one after the other."""
        return sum(_aligned(length, layout) for _, length in self.parts)


def pack(loads: Sequence[Load], layout: Layout, *, first_slot: int) -> tuple[dict[str, int], int]:
    """Return the first row of each span, and the first slot that is still free.

    First the loads longer than a slot, in the given order: the first starts at a slot border, each next one right
    behind it, to keep padding small; if a load has several parts, each starts at a border of its own, so that slots of
    the same time can be written together. Then the others, longest first (ties by key), each into the fullest slot
    that can hold it (ties: the earliest). Spans without rows take no space; they get the first row of the first new
    slot.
    """
    r = layout.slot_frames
    rows = {key: first_slot * r for load in loads for key, _ in load.parts}
    bins = _Bins(layout)
    at = first_slot * r
    for load in loads:
        if load.rows(layout) > r:
            for key, length in load.parts:
                if len(load.parts) > 1:
                    at = bins.close(at)
                rows[key] = at
                at += _aligned(length, layout)
            if len(load.parts) > 1:
                at = bins.close(at)
    slot = bins.close(at) // r
    short = [(-load.rows(layout), load.parts) for load in loads if 0 < load.rows(layout) <= r]
    for minus_need, parts in sorted(short):
        need = -minus_need
        place = bins.take(need)
        if place is None:
            place = (slot, 0)
            bins.add(slot, need)
            slot += 1
        at = place[0] * r + place[1]
        for key, length in parts:
            rows[key] = at
            at += _aligned(length, layout)
    return rows, slot


def _aligned(length: int, layout: Layout) -> int:
    return -(-length // layout.align) * layout.align


class _Bins:
    """Slots with free rows, by how many: best fit in constant time for any number of slots."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._by_room: list[list[int]] = [[] for _ in range(layout.slot_frames // layout.align + 1)]

    def add(self, slot: int, used: int) -> None:
        heapq.heappush(self._by_room[(self._layout.slot_frames - used) // self._layout.align], slot)

    def close(self, row: int) -> int:
        """Release the rest of the slot that contains `row` for short spans; return the next slot border."""
        slot, used = divmod(row, self._layout.slot_frames)
        if used:
            self.add(slot, used)
        return (slot + (used > 0)) * self._layout.slot_frames

    def take(self, need: int) -> tuple[int, int] | None:
        """Allocate `need` rows in the fullest slot that has them free; return (slot, first of these rows in it)."""
        for room in range(need // self._layout.align, len(self._by_room)):
            if self._by_room[room]:
                slot = heapq.heappop(self._by_room[room])
                used = self._layout.slot_frames - room * self._layout.align
                self.add(slot, used + need)
                return slot, used
        return None
