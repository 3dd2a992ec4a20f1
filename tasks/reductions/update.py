"""From committed cells to a stored result: which slots, in which tree nodes, under which key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks import failpoints, reductions
from patchlake.tasks.keys import digest
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.reductions import store
from patchlake.tasks.reductions.reduction import Reduction, ReductionOptions, Run, State
from patchlake.tasks.reductions.tree import fold, nodes_of
from patchlake.tasks.storage.location import Location


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Where the cells of a product are stored; pickled to workers."""

    lake: Location
    product: str
    rows_per_slot: int

    def cells(self, slot: int) -> npt.NDArray[np.floating]:
        """Return the (n, channel) cells of a slot's committed rows."""
        rows = ProductRows(self.lake, self.product).read(slot * self.rows_per_slot, (slot + 1) * self.rows_per_slot)
        values = rows.select(rows.exists).values
        return values.reshape(-1, values.shape[-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedCells:
    """All input of a reduction."""

    slots: Slots
    channels: tuple[str, ...]
    committed: tuple[int, ...]
    """Numbers of the slots with committed rows."""
    identity: list[Any]
    """What identifies these rows: spans and checksums, in row order."""


def key_of(reduction: Reduction, cells: CommittedCells) -> str:
    """Return the key of a result: equal options, version and rows give equal keys."""
    version = {} if reduction.version == 1 else {"version": reduction.version}  # keys of version 1 never had it
    return digest("reduction", reduction.options.key | version, cells.identity)


def is_current(reduction: Reduction, cells: CommittedCells) -> bool:
    """Return whether the lake holds this result for these rows, or there are no rows to reduce."""
    if not cells.committed:
        return True
    return store.read(cells.slots.lake, reduction.options.name, key=key_of(reduction, cells)) is not None


def update(reduction: Reduction, cells: CommittedCells, *, run: Run, num_nodes: int) -> dict[str, int]:
    """Reduce the cells in about `num_nodes` tree nodes, store the result, and return its figures.

    The result is the same for any number of nodes. Nothing is stored if the slots hold no cells.
    """
    level, nodes = nodes_of(cells.committed, num_nodes)
    states: dict[int, State | None] = dict(run(partial(node_state, reduction.options, cells.slots, level), nodes))
    total = fold(((number, states[number]) for number in sorted(states)), reduction.combine)
    if total is None:
        return {"cells": 0}
    result = reduction.finalize(total, cells.channels)
    failpoints.reach("reduced")
    store.write(cells.slots.lake, reduction.options.name, result, key=key_of(reduction, cells))
    return reduction.figures(result)


def node_state(options: ReductionOptions, slots: Slots, level: int, numbers: Sequence[int]) -> tuple[int, State | None]:
    """Return an aligned node's number and its state, None if its slots hold no cells. Runs on a worker."""
    reduction = reductions.build(options)
    leaves = ((number, _slot_state(reduction, slots, number)) for number in numbers)
    return numbers[0] >> level, fold(leaves, reduction.combine)


def _slot_state(reduction: Reduction, slots: Slots, number: int) -> State | None:
    values = slots.cells(number)
    state = reduction.chunk(values) if len(values) else None
    failpoints.reach("reducing")
    return state
