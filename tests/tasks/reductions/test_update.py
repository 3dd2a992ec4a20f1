"""A stored reduction is made from the committed rows of a lake, by any map, and not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from patchlake.tasks import reductions
from patchlake.tasks.lake.layout import ARRAYS
from patchlake.tasks.reductions import store
from patchlake.tasks.reductions.pca import PcaOptions
from patchlake.tasks.reductions.quantiles import QuantilesOptions
from patchlake.tasks.reductions.tree import fold, nodes_of
from patchlake.tasks.reductions.update import CommittedCells, Slots, is_current, key_of, node_state, update
from patchlake.tasks.storage.location import Location

ROWS, SLOTS = 4, (0, 1, 2, 3, 6)
CHANNELS = ("u", "v")
PCA = reductions.build(PcaOptions(kind="pca", product="flow", components=2))


def backwards(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """A map whose results come in another order."""
    return map(function, reversed(list(items)))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[CommittedCells, np.ndarray]:
    """Five slots of 4 rows with 2 cells each; two rows of each hold nothing, slot 2 is empty."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((7 * ROWS, 1, 2, 2)).astype(np.float16)
    track = np.where(np.arange(7 * ROWS) % ROWS < 2, 0, -1).astype(np.int32)
    track[2 * ROWS : 3 * ROWS] = -1
    group = zarr.create_group(tmp_path / ARRAYS / "flow")
    for name, array in (("features", values), ("track", track), ("seconds", np.zeros(len(track)))):
        group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=(ROWS, *array.shape[1:]))[:] = array
    slots = Slots(lake=Location(str(tmp_path)), product="flow", rows_per_slot=ROWS)
    committed = [row for slot in SLOTS for row in range(slot * ROWS, (slot + 1) * ROWS) if track[row] >= 0]
    cells = CommittedCells(slots=slots, channels=CHANNELS, committed=SLOTS, identity=[[0, "span", "sum"]])
    return cells, values[committed].reshape(-1, 2).astype(np.float64)


def test_only_committed_rows_count(stored: tuple[CommittedCells, np.ndarray]) -> None:
    cells, expected = stored
    assert update(PCA, cells, run=map, num_nodes=2) == {"cells": 16, "rank": 2, "components": 2}
    found = store.read(cells.slots.lake, "pca-flow")
    assert found is not None
    np.testing.assert_allclose(found["mean"], expected.mean(axis=0), rtol=1e-12)
    assert found.attrs["channel_names"] == list(CHANNELS)


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 100])
def test_neither_nodes_nor_order_change_a_byte(stored: tuple[CommittedCells, np.ndarray], num_nodes: int) -> None:
    cells, _ = stored
    folder = cells.slots.lake / "reductions"

    def made(run: Any, nodes: int) -> dict[str, bytes | None]:
        update(PCA, cells, run=run, num_nodes=nodes)
        return {name: folder.get(name) for name, _ in folder.list()}

    assert made(backwards, num_nodes) == made(map, 1)


def test_a_result_is_current_until_rows_or_options_change(stored: tuple[CommittedCells, np.ndarray]) -> None:
    cells, _ = stored
    assert not is_current(PCA, cells)
    update(PCA, cells, run=map, num_nodes=4)
    assert is_current(PCA, cells)
    grown = CommittedCells(slots=cells.slots, channels=CHANNELS, committed=SLOTS, identity=[[0, "span", "other"]])
    assert not is_current(PCA, grown)
    assert not is_current(reductions.build(PcaOptions(kind="pca", product="flow", components=1)), cells)
    empty = CommittedCells(slots=cells.slots, channels=CHANNELS, committed=(), identity=[])
    assert is_current(PCA, empty)


def test_keys_are_those_of_lakes_made_before(stored: tuple[CommittedCells, np.ndarray]) -> None:
    """Made with commit 7a3c540: digest("reduction", {kind, feature, components}, [[0, "span", "sum"]])."""
    cells, _ = stored
    assert key_of(PCA, cells) == "8048adda7195f7bfb83f82ebe6f6ad46"
    spelled = PcaOptions.model_validate({"kind": "pca", "feature": "flow", "components": 2})
    assert key_of(reductions.build(spelled), cells) == key_of(PCA, cells)


def test_slots_without_a_cell_make_no_result(stored: tuple[CommittedCells, np.ndarray]) -> None:
    cells, _ = stored
    nothing = CommittedCells(slots=cells.slots, channels=CHANNELS, committed=(2,), identity=[1])
    assert update(PCA, nothing, run=map, num_nodes=4) == {"cells": 0}
    assert store.read(cells.slots.lake, "pca-flow") is None


def test_a_second_kind_goes_the_same_way(stored: tuple[CommittedCells, np.ndarray]) -> None:
    cells, expected = stored
    reduction = reductions.build(QuantilesOptions(kind="quantiles", product="flow"))
    assert update(reduction, cells, run=backwards, num_nodes=3) == {"cells": 16, "non-finite values": 0}
    found = store.read(cells.slots.lake, "quantiles-flow", key=key_of(reduction, cells))
    assert found is not None
    median = np.quantile(expected, 0.5, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(found["quantiles"].sel(level=0.5), median, rtol=1 / 128, atol=5e-7)


def test_a_node_s_task_is_the_merge_of_its_slots(stored: tuple[CommittedCells, np.ndarray]) -> None:
    cells, _ = stored
    number, state = node_state(PCA.options, cells.slots, 2, (0, 1, 2, 3))
    assert number == 0
    parts = [(slot, node_state(PCA.options, cells.slots, 0, (slot,))[1]) for slot in range(4)]
    whole = fold(parts, PCA.combine)
    assert state is not None
    assert whole is not None
    assert {n: v.tobytes() for n, v in state.items()} == {n: v.tobytes() for n, v in whole.items()}


def test_nodes_are_aligned_and_about_as_many_as_wanted() -> None:
    assert nodes_of(range(8), 8) == (0, [[i] for i in range(8)])
    assert nodes_of([9, 3, 2, 0], 2) == (1, [[0], [2, 3], [9]])
    assert nodes_of([], 4) == (0, [])
    with pytest.raises(ValueError, match="expected ascending numbers"):
        fold([(2, 1), (1, 1)], lambda a, b: a + b)
