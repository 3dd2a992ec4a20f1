"""The order in which states are combined: an aligned binary tree of slot numbers.

Leaves are slots (level 0); node i of level l holds slots [i 2^l, (i + 1) 2^l); neighbours 2i and 2i + 1 are combined
first, and a node without a partner moves up unchanged. So neither the order of completion nor later slots change a bit
of other nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def fold(parts: Iterable[tuple[int, T | None]], combine: Callable[[T, T], T]) -> T | None:
    """Combine aligned nodes of one level, given as (number, part) in ascending order; a part None has no cells.

    Keeps at most one part per level of the tree. Raises ValueError for numbers that do not ascend.
    """
    waiting: list[tuple[int, T]] = []
    last = -1
    for number, part in parts:
        if number <= last:
            raise ValueError(f"got node {number} after node {last}, expected ascending numbers")
        last = number
        if part is None:
            continue
        while len(waiting) > 1 and _meet(waiting[-2][0], waiting[-1][0]) < _meet(waiting[-1][0], number):
            _join(waiting, combine)
        waiting.append((number, part))
    while len(waiting) > 1:
        _join(waiting, combine)
    return waiting[0][1] if waiting else None


def _meet(a: int, b: int) -> int:
    """Return the level of the smallest node that contains both."""
    return (a ^ b).bit_length()


def _join(waiting: list[tuple[int, T]], combine: Callable[[T, T], T]) -> None:
    """Replace the last two parts by their node, under its first number: all its slots meet others at the same level."""
    _, right = waiting.pop()
    first, left = waiting.pop()
    waiting.append((first, combine(left, right)))


def nodes_of(slots: Iterable[int], most: int) -> tuple[int, list[Sequence[int]]]:
    """Return the lowest level at which about `most` nodes contain the slots, and each node's slots, ascending."""
    ordered = sorted(slots)
    level = 0
    while len(ordered) >> level > most:
        level += 1
    nodes: dict[int, list[int]] = {}
    for slot in ordered:
        nodes.setdefault(slot >> level, []).append(slot)
    return level, list(nodes.values())
