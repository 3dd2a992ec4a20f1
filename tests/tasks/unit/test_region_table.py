"""The table `regions`: what it lacks is described once, what it has is not read again, and links are made anew."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from in_process import Ingested, ingest, open_dataset

from patchlake.tasks.features.regions import rows
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.unit.drop import drop_product
from patchlake.tasks.unit.regions import RegionWork, describe_job, region_entries, region_work, write_regions

NUM_FRAMES, WINDOW = 40, 8
RECIPE: dict[str, Any] = {
    "corpus": {"videos": "videos"},
    "clips": [{"seconds": 60.0}],
    "frames": {"size": [32, 32]},
    "patches": {"size": [8, 16, 16]},
    "features": ["edges", {"kind": "regions", "cell": 1, "smooth": 1}],
    "units": {"slot_frames": 32, "slots": 1},
}


def render(path: Path) -> None:
    """Write a still red square of 12 x 12 pixels, at y 8..20 and x 4..16, on blue."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:] = (20, 20, 160)
    picture[8:20, 4:16] = (220, 60, 50)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "1", "preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        for i in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("square")
    (folder / "videos").mkdir()
    render(folder / "videos" / "a.mp4")
    return ingest(folder, RECIPE)


@pytest.fixture
def dataset(done: Ingested) -> Dataset:
    """The lake with an empty table."""
    done.tables.regions.overwrite([])
    return open_dataset(Path(done.dataset.recipe.lake).parent, RECIPE)


def describe(dataset: Dataset, works: Sequence[RegionWork]) -> dict[str, list[dict[str, Any]]]:
    """Do what workers do."""
    return {
        work.entry.name: [row for part in work.parts for row in rows.describe(describe_job(dataset, work), part)]
        for work in works
    }


def brought_up_to_date(dataset: Dataset) -> tuple[int, bool]:
    works = region_work(dataset, dataset.ledger.placements.values())
    return write_regions(dataset, works, describe(dataset, works))


def test_only_regions_features_have_rows_in_the_table(dataset: Dataset, done: Ingested) -> None:
    assert [entry.name for entry in region_entries(dataset)] == ["regions"]
    without = open_dataset(Path(done.dataset.recipe.lake).parent, {**RECIPE, "features": ["edges"]})
    assert region_entries(without) == region_work(without, without.ledger.placements.values()) == []


def test_a_span_is_described_in_parts_that_end_at_the_borders_of_slots(dataset: Dataset) -> None:
    (work,) = region_work(dataset, dataset.ledger.placements.values())
    assert [(part.row_start, part.row_stop) for part in work.parts] == [(0, 32), (32, 40)]
    assert work.known == ()
    assert region_work(dataset, [])[0].parts == ()


def test_a_still_square_is_one_row_a_window_linked_as_one_track(dataset: Dataset) -> None:
    num_rows, changed = brought_up_to_date(dataset)
    assert (num_rows, changed) == (NUM_FRAMES // WINDOW, True)
    found = dataset.tables.regions.rows()
    assert [row["row_start"] for row in found] == [0, 8, 16, 24, 32]
    assert len({row["region_track"] for row in found}) == 1
    assert found[0]["region_track"] == found[0]["region_id"], "named after its first region"
    for row in found:
        assert row["first_box"] == pytest.approx([4, 8, 12, 12]), "x, y, width, height"


def test_what_the_table_has_is_not_described_again(dataset: Dataset) -> None:
    brought_up_to_date(dataset)
    before = dataset.tables.regions.rows()
    (work,) = region_work(dataset, dataset.ledger.placements.values())
    assert (work.parts, len(work.known)) == ((), NUM_FRAMES // WINDOW)
    assert brought_up_to_date(dataset) == (NUM_FRAMES // WINDOW, False)
    assert dataset.tables.regions.rows() == before


def test_rows_of_other_features_stay_and_those_of_other_options_go(dataset: Dataset) -> None:
    brought_up_to_date(dataset)
    mine = dataset.tables.regions.rows()
    other = {**mine[0], "product": "moving", "product_digest": "theirs"}
    old = {**mine[0], "product_digest": "of before", "label": 9}
    dataset.tables.regions.append([other, old])
    num_rows, changed = brought_up_to_date(dataset)
    assert (num_rows, changed) == (len(mine) + 1, True)
    found = dataset.tables.regions.rows()
    assert other in found
    assert old not in found
    assert [row for row in found if row["product"] == "regions"] == mine


def test_another_overlap_links_known_rows_anew(dataset: Dataset, done: Ingested) -> None:
    brought_up_to_date(dataset)
    rows_before = dataset.tables.regions.rows()
    apart = [{**row, "region_track": row["region_id"]} for row in rows_before]
    dataset.tables.regions.overwrite(apart)
    assert brought_up_to_date(dataset)[1], "the table said otherwise"
    assert dataset.tables.regions.rows() == rows_before


def test_spans_whose_labels_are_not_committed_wait(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    render(tmp_path / "videos" / "a.mp4")
    dataset = ingest(tmp_path, RECIPE).dataset
    drop_product(dataset, "regions")
    (work,) = region_work(dataset, dataset.ledger.placements.values())
    assert (work.parts, work.known) == ((), ())
