"""Dropping a product, and forgetting what failed: tables and arrays of a small lake, before and after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import Ingested, ingest, open_dataset, survey_of
from tiny_lakes import TINY, videos_in

from patchlake.tasks.errors import LakeError, RecipeError
from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.digest import digest
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.unit.drop import drop_feature, drop_product, drop_stale, forget_failed

COARSE = {**TINY, "features": [{"kind": "edges", "canny": [50, 150]}, "color"]}
FEATURES = {**TINY, "features": ["edges", "color"]}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest(videos_in(tmp_path_factory.mktemp("tiny")), FEATURES)


@pytest.fixture
def folder(once: Ingested, tmp_path: Path) -> Path:
    """A copy of the lake and its videos."""
    shutil.copytree(Path(once.dataset.recipe.lake).parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def products_with_receipts(dataset: Dataset) -> set[str]:
    return {row["product"] for row in dataset.tables.receipts.rows()}


def test_a_dropped_feature_leaves_neither_receipts_nor_arrays_and_others_stay(folder: Path) -> None:
    dataset = open_dataset(folder, FEATURES)
    others = [row for row in dataset.tables.receipts.rows() if row["product"] != "edges"]
    drop_feature(dataset, "edges")
    assert dataset.tables.receipts.rows() == others
    assert set(arrays.product_names(dataset.lake)) == {"pixels", "color"}
    assert "edges" not in dataset.ledger.done
    assert set(dataset.reread().ledger.done) == {"pixels", "color"}


def test_receipts_go_before_arrays(folder: Path) -> None:
    there: list[bool] = []
    recipe = open_dataset(folder, FEATURES).recipe
    dataset = Dataset.open(recipe, lambda: there.append("edges" in arrays.product_names(dataset.lake)))
    drop_product(dataset, "edges")
    assert there, "it is asked before each commit"
    assert all(there), "else a run killed here would leave receipts of rows that are gone"
    assert "edges" not in arrays.product_names(dataset.lake)


def test_a_run_that_may_write_no_more_drops_nothing(folder: Path) -> None:
    def lost() -> None:
        raise LakeError("the lock is lost")

    dataset = Dataset.open(open_dataset(folder, FEATURES).recipe, lost)
    with pytest.raises(LakeError, match="lock is lost"):
        drop_product(dataset, "edges")
    assert "edges" in products_with_receipts(dataset)
    assert "edges" in arrays.product_names(dataset.lake)


@pytest.mark.parametrize("name", ["pixels", "flow", "Edges"])
def test_only_a_feature_that_the_lake_holds_can_be_dropped(folder: Path, name: str) -> None:
    dataset = open_dataset(folder, FEATURES)
    with pytest.raises(RecipeError, match=f"--drop {name}: expected a feature") as error:
        drop_feature(dataset, name)
    assert "color" in str(error.value) and "edges" in str(error.value)  # noqa: PT018
    assert products_with_receipts(dataset) == {"pixels", "edges", "color"}


def test_dropped_and_computed_anew_a_product_is_the_same(folder: Path) -> None:
    before = digest_of(folder)
    drop_product(open_dataset(folder, FEATURES), "edges")
    again = ingest(folder, FEATURES)
    assert {unit.products for unit in again.plan.all_units} == {("edges",)}
    assert digest_of(folder) == before


def digest_of(folder: Path) -> str:
    return digest(open_dataset(folder, FEATURES).lake).total


def test_only_products_of_other_options_are_stale(folder: Path) -> None:
    dataset = open_dataset(folder, COARSE)
    assert dataset.ledger.stale == {"edges"}
    drop_stale(dataset)
    assert products_with_receipts(dataset) == {"pixels", "color"}
    assert open_dataset(folder, COARSE).ledger.stale == set()
    same = open_dataset(folder, FEATURES)
    drop_stale(same)
    assert products_with_receipts(same) == {"pixels", "color"}, "it is not stored at all, so nothing of it is stale"


def test_stale_pixels_are_refused_and_nothing_is_dropped(folder: Path) -> None:
    dataset = open_dataset(folder, COARSE)
    dataset.ledger.stale.add("pixels")
    with pytest.raises(RecipeError, match="another `name:`"):
        drop_stale(dataset)
    assert products_with_receipts(dataset) == {"pixels", "edges", "color"}


@pytest.fixture
def failed(folder: Path) -> Callable[..., Dataset]:
    """Make the lake tell that a reason kept all rows of `b` (rows 40 to 64) from being stored."""

    def failed(reason: str, num_rows: int = 0) -> Dataset:
        dataset = open_dataset(folder, FEATURES)
        placement = next(p for p in dataset.ledger.placements.values() if p.row_start == 40)
        key = placement.span.span_key
        row = {
            "span_key": key, "video_id": placement.span.video_id, "row_start": 40, "num_rows": num_rows,
            "num_rows_planned": 24, "reason": reason, "message": "why", "surplus": b"",
        }  # fmt: skip
        dataset.tables.failures.append([row])
        receipts = dataset.tables.receipts.rows()
        for receipt in receipts:
            pairs = zip(receipt["span_keys"], receipt["num_rows"], strict=True)
            receipt["num_rows"] = [num_rows if one == key else rows for one, rows in pairs]
        dataset.tables.receipts.overwrite(receipts)
        return open_dataset(folder, FEATURES)

    return failed


@pytest.mark.parametrize("reason", ["timeout", "memory", "crash"])
def test_what_failed_by_the_machine_gets_a_new_place_if_asked_for(failed: Callable[..., Dataset], reason: str) -> None:
    dataset = failed(reason)
    forget_failed(dataset, retry_failed=False)
    assert len(dataset.ledger.placements) == 3, "nobody asked for it"
    forget_failed(dataset, retry_failed=True)
    assert sorted(p.row_start for p in dataset.ledger.placements.values()) == [0, 64]
    plan = make_plan(dataset, survey_of(dataset), Workers(total=1))
    assert [(p.row_start, p.span.num_rows) for p in plan.new] == [(96, 24)], "rows that were given up stay padding"


@pytest.mark.parametrize(("reason", "num_rows"), [("corrupt", 0), ("crash", 3)])
def test_what_lies_in_the_file_or_is_stored_in_part_is_not_tried_again(
    failed: Callable[..., Dataset], reason: str, num_rows: int
) -> None:
    dataset = failed(reason, num_rows)
    forget_failed(dataset, retry_failed=True)
    assert len(dataset.ledger.placements) == 3


def test_a_changed_feature_is_another_try_for_what_failed(failed: Callable[..., Dataset], folder: Path) -> None:
    failed("crash")
    dataset = open_dataset(folder, COARSE)
    forget_failed(dataset, retry_failed=False)
    assert len(dataset.ledger.placements) == 2
