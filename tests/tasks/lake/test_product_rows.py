"""The reader of product rows, against numpy arrays that were written by hand."""

from pathlib import Path

import numpy as np
import pytest

from patchlake.tasks.lake import arrays, create
from patchlake.tasks.lake.coordinates import RowTimes, write_times
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.shards import ShardWriter
from patchlake.tasks.lake.zarr_config import PLAIN, ZARRS
from patchlake.tasks.storage.location import Location

STRIDE, CHUNK, ROWS_PER_SLOT, SLOT_FRAMES, SLOTS = 4, 4, 16, 64, 3
TRACKS = {(3, 10): 0, (10, 13): 1, (32, 46): 2}
"""Rows [start, stop) -> their track; no other row is there."""


def product(name: str = "speed") -> Product:
    return Product(
        name=name, array="features", key={"kind": name}, time_size=4, time_stride=STRIDE, y=(4.0, 12.0), x=(4.0,),
        channels=("up", "down", "still"), dtype="float32", rows_per_slot=ROWS_PER_SLOT, chunk=(CHUNK, 2, 1),
        needs_gpu=False, attrs={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Location:
    place = Location(str(tmp_path_factory.mktemp("lake")))
    create.make_dataset(place, {})
    create.ensure_arrays(place, [product()], with_pts=False)
    create.grow(place, SLOTS, slot_frames=SLOT_FRAMES)
    writer = ShardWriter(place, product())
    for slot in range(SLOTS):
        writer.write(slot, stored()[slot * ROWS_PER_SLOT : (slot + 1) * ROWS_PER_SLOT])
    write_times(
        place,
        [
            RowTimes(product="speed", row_start=start, track=track, seconds=np.arange(stop - start) / 10)
            for (start, stop), track in TRACKS.items()
        ],
    )
    return place


def stored() -> np.ndarray:
    """Rows that are not there hold values, too, so that a reader that takes them is found out."""
    shape = (SLOTS * ROWS_PER_SLOT, 2, 1, 3)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def track_of(row: int) -> int:
    return next((track for (start, stop), track in TRACKS.items() if start <= row < stop), -1)


@pytest.mark.parametrize(("start", "stop"), [(0, 48), (2, 11), (5, 6), (7, 7), (40, 48)])
@pytest.mark.parametrize("settings", [ZARRS, PLAIN], ids=["zarrs", "zarr-python"])
def test_rows_are_read_with_their_numbers_tracks_and_times(lake, start, stop, settings):
    rows = ProductRows(lake, "speed", settings).read(start, stop)
    assert rows.row.tolist() == list(range(start, stop))
    assert rows.track.tolist() == [track_of(row) for row in range(start, stop)]
    assert np.array_equal(rows.values, stored()[start:stop])
    assert np.array_equal(np.isnan(rows.seconds), ~rows.exists)
    assert len(rows) == stop - start


@pytest.mark.parametrize(("start", "stop"), [(0, 48), (2, 11), (5, 6), (7, 7), (13, 32), (31, 47)])
def test_chunks_hold_every_row_that_is_there_once_and_end_at_chunk_borders(lake, start, stop):
    parts = list(ProductRows(lake, "speed").chunks(start, stop))
    found = [int(row) for part in parts for row in part.row]
    assert found == [row for row in range(start, stop) if track_of(row) >= 0]
    assert all(len({int(row) // CHUNK for row in part.row}) == 1 for part in parts)
    assert len({int(part.row[0]) // CHUNK for part in parts}) == len(parts)
    for part in parts:
        assert np.array_equal(part.values, stored()[part.row])


def test_a_clip_s_rows_are_those_of_its_track_whose_time_lies_in_it(lake):
    rows = ProductRows(lake, "speed").read(0, 48)
    inside = rows.select(rows.within(0, 0.2, 0.5))
    assert inside.row.tolist() == [5, 6, 7]
    assert np.array_equal(inside.values, stored()[5:8])
    assert rows.of_track(1).row.tolist() == [10, 11, 12]
    assert not rows.within(3, 0.0, 9.0).any()


def test_pixel_rows_become_the_rows_that_touch_them(lake):
    product_rows = ProductRows(lake, "speed")
    assert product_rows.of_pixel_rows(8, 16) == (2, 4)
    assert product_rows.of_pixel_rows(9, 17) == (2, 5)
    y, x, channels = product_rows.cells
    assert (y.tolist(), x.tolist(), channels) == ([4.0, 12.0], [4.0], ("up", "down", "still"))


def test_pixels_have_an_index_where_no_frame_is_kept(lake):
    pixels = ProductRows(lake, "pixels")
    assert not pixels.is_stored
    assert len(pixels.index()) == SLOTS * SLOT_FRAMES
    assert pixels.of_pixel_rows(3, 9) == (3, 9)
    assert ProductRows(lake, "speed").is_stored


def test_a_folder_without_a_dataset_is_no_lake(tmp_path: Path):
    from patchlake.tasks.errors import RecipeError

    with pytest.raises(RecipeError, match="expected LAKE/NAME of a lake that a run has made"):
        arrays.existing_lake(str(tmp_path))
