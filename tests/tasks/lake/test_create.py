"""What lies on disk is compared with what is wanted: made anew or or mended, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
from in_process import Ingested, ingest, open_dataset, survey_of

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.digest import digest
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.shards import ShardWriter
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.unit.record import record

RECIPE: dict[str, Any] = {
    "corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}, "features": ["edges", "color"],
}  # fmt: skip
PARTS = ["zarr.json", "features", "track", "seconds", "y", "x", "channel"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos/a.mkv", num_frames=40, gop=8)
    return tmp_path


@pytest.fixture
def done(folder: Path) -> Ingested:
    return ingest(folder, RECIPE)


def product_folder(done: Ingested, name: str) -> Path:
    return done.lake.path / "arrays.zarr" / name


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def drop_receipts(done: Ingested, name: str) -> None:
    """Do the first half of dropping a product; a kill keeps the second from being done."""
    receipts = done.tables.receipts
    receipts.overwrite([row for row in receipts.rows() if row["product"] != name])


def test_arrays_of_a_first_try_are_made_anew_for_another_grid(folder: Path) -> None:
    dataset = open_dataset(folder, {**RECIPE, "patches": {"size": [8, 24, 32]}})
    found = survey_of(dataset)
    record(dataset, found, make_plan(dataset, found, Workers(total=1)))
    second = ingest(folder, RECIPE)
    fresh = ingest(folder, {**RECIPE, "name": "fresh"})
    assert second.array("edges/features").shape == fresh.array("edges/features").shape
    assert digest(second.lake) == digest(fresh.lake)
    assert not list(verify(second.lake))


@pytest.mark.parametrize("part", PARTS)
def test_a_product_that_is_half_removed_is_made_anew(folder: Path, done: Ingested, part: str) -> None:
    whole = digest(done.lake)
    drop_receipts(done, "edges")
    remove(product_folder(done, "edges") / part)
    again = ingest(folder, RECIPE)
    assert digest(again.lake) == whole
    assert not list(verify(again.lake))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_left_of_a_product_that_nobody_wants_goes(folder: Path, done: Ingested, part: str) -> None:
    drop_receipts(done, "edges")
    remove(product_folder(done, "edges") / part)
    again = ingest(folder, {**RECIPE, "features": ["color"]})
    assert arrays.product_names(again.lake) == ["color", "pixels"]
    assert not product_folder(again, "edges").exists()


@pytest.mark.parametrize("product", ["edges", "pixels"])
@pytest.mark.parametrize("name", ["y", "x", "channel"])
@pytest.mark.parametrize("how", ["left empty", "missing"])
def test_coordinates_whose_values_were_never_written_get_them(
    folder: Path, done: Ingested, product: str, name: str, how: str
) -> None:
    cells = ProductRows(done.lake, product).cells
    remove(product_folder(done, product) / name / ("c" if how == "left empty" else ""))
    again = ingest(folder, RECIPE)
    assert again.num_decoded == 0
    for found, before in zip(ProductRows(again.lake, product).cells, cells, strict=True):
        assert np.array_equal(found, before)


def change(done: Ingested, name: str, key: str, value: Any) -> None:
    path = product_folder(done, name) / "features/zarr.json"
    described = json.loads(path.read_text())
    (described["attributes"] if key in described["attributes"] else described)[key] = value
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("product_digest", "of others", "product digest: got of others"),
        ("data_type", "float64", "type: got float64, expected float32"),
        ("shape", [64, 9, 9, 9], r"y, x, channels of a row: got \[9, 9, 9\]"),
    ],
)
def test_a_committed_product_of_another_make_is_refused(
    folder: Path, done: Ingested, key: str, value: Any, said: str
) -> None:
    change(done, "color", key, value)
    with pytest.raises(LakeError, match=f"color has committed rows, but {said}"):
        ingest(folder, RECIPE)


@pytest.mark.parametrize("part", ["features", "track", "seconds"])
def test_a_committed_product_that_lacks_an_array_is_refused(folder: Path, done: Ingested, part: str) -> None:
    remove(product_folder(done, "edges") / part)
    with pytest.raises(LakeError, match=f"edges has committed rows, but its array '{part}' is missing"):
        ingest(folder, RECIPE)


def test_a_committed_product_with_other_places_is_refused(folder: Path, done: Ingested) -> None:
    arrays.open_array(done.lake, "edges/y", mode="r+")[:] = 7.0
    with pytest.raises(LakeError, match="its coordinate 'y' is not"):
        ingest(folder, RECIPE)


def test_a_writer_refuses_a_block_of_another_shape(done: Ingested) -> None:
    product = done.dataset.products["edges"]
    writer = ShardWriter(done.lake, product)
    shape = (product.rows_per_slot, *product.cell_shape)
    for wrong in ((1, *shape[1:]), (shape[0], 1, *shape[2:]), (*shape[:3], 1)):
        with pytest.raises(LakeError, match="got a block of shape"):
            writer.write(0, np.zeros(wrong, np.float32))


def test_chunks_stay_as_they_were_first_made(folder: Path, done: Ingested) -> None:
    again = ingest(folder, {**RECIPE, "patches": {"size": [4, 16, 16], "chunk": "patch"}})
    assert again.num_decoded == 0
    assert arrays.open_array(again.lake, "pixels/frames").chunks == arrays.open_array(done.lake, "pixels/frames").chunks
