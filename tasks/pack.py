"""Packing: where spans lie on the time axis. Pure arithmetic in a stated order, so that a re-run repeats it.

R = 512, align = 8      slot 0            slot 1            slot 2
span A, 1100 rows       AAAAAAAAAAAAAAAA  AAAAAAAAAAAAAAAA  AA..............
spans B 300, C 90                                           AABBBBBBBBBCCC..
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """The row model's constants of a dataset."""

    slot_frames: int
    """R: pixel rows of a slot."""
    align: int
    """Every span starts on a multiple of it; it divides R, and every product's time stride divides it."""


def pack(lengths: Sequence[tuple[str, int]], layout: Layout, *, first_slot: int) -> tuple[dict[str, int], int]:
    """Return the first row of each span, and the first slot that is still free.

    `lengths` are (span_key, rows). Order: spans longer than a slot, in the order given, each from a slot border; then
    the others, longest first (ties by key), each into the fullest slot that can hold it (ties: the earliest).
    Spans without rows take no place; they get the first row of the first new slot.
    """
    rows: dict[str, int] = {}
    slot = first_slot
    bins = _Bins(layout)
    for key, length in lengths:
        if length > layout.slot_frames:
            rows[key] = slot * layout.slot_frames
            slot += -(-length // layout.slot_frames)
            bins.add(slot - 1, _aligned(length % layout.slot_frames or layout.slot_frames, layout))
    for key, length in sorted(_short(lengths, layout), key=lambda item: (-item[1], item[0])):
        if length == 0:
            rows[key] = first_slot * layout.slot_frames
            continue
        need = _aligned(length, layout)
        place = bins.take(need)
        if place is None:
            place = (slot, 0)
            bins.add(slot, need)
            slot += 1
        rows[key] = place[0] * layout.slot_frames + place[1]
    return rows, slot


def _short(lengths: Iterable[tuple[str, int]], layout: Layout) -> Iterable[tuple[str, int]]:
    return ((key, length) for key, length in lengths if length <= layout.slot_frames)


def _aligned(length: int, layout: Layout) -> int:
    return -(-length // layout.align) * layout.align


class _Bins:
    """Slots with room, by how much: best fit in constant time for any number of slots."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._by_room: list[list[int]] = [[] for _ in range(layout.slot_frames // layout.align + 1)]

    def add(self, slot: int, used: int) -> None:
        heapq.heappush(self._by_room[(self._layout.slot_frames - used) // self._layout.align], slot)

    def take(self, need: int) -> tuple[int, int] | None:
        """Return (slot, first free row in it) of the fullest slot with `need` rows of room, and use them."""
        for room in range(need // self._layout.align, len(self._by_room)):
            if self._by_room[room]:
                slot = heapq.heappop(self._by_room[room])
                used = self._layout.slot_frames - room * self._layout.align
                self.add(slot, used + need)
                return slot, used
        return None
