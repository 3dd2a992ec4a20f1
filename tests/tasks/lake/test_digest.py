"""`digest`: `content` is equal for the same videos whatever the history, and differs with anything that is stated."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import ingest

from patchlake.tasks.lake import arrays, create, schema
from patchlake.tasks.lake.digest import VERSION, Digest, digest
from patchlake.tasks.lake.schema import TableSchema
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.storage.location import Location

VIDEOS = {"walk/a.mp4": 40, "run/b.mp4": 70, "walk/c.mp4": 20}
RECIPE: dict[str, Any] = {
    "corpus": {"videos": "videos", "labels": "folder"},
    "frames": {"size": [48, 64], "fps": 10},
    "patches": {"size": [4, 16, 16]},
    "features": ["motion", "color"],
    "clips": [{"method": "windows", "seconds": 0.8, "stride_seconds": 0.5}],
}
COLUMNS = [(table, column) for table in schema.ALL for column in table.digested("content", "layout")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name, num_frames in VIDEOS.items():
        (root / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        clips.render(root / "all" / name, num_frames=num_frames, gop=12)
    return root


def lake_of(folder: Path, name: str, *arrivals: tuple[str, ...], **changes: Any) -> Location:
    """Ingest once after each arrival of videos; return the lake."""
    videos = folder / f"videos of {name}"
    for arrived in arrivals:
        for video in arrived:
            (videos / video).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / "all" / video, videos / video)
        corpus = {**RECIPE["corpus"], "videos": str(videos)}
        done = ingest(folder, {**RECIPE, "name": name.replace(" ", "_"), "corpus": corpus, **changes})
    return done.lake


def some_value(kind: pa.DataType, seed: int) -> Any:
    """Return a value of a column's type."""
    if pa.types.is_map(kind):
        return [(some_value(kind.key_type, seed), some_value(kind.item_type, seed))]
    if pa.types.is_list(kind):
        return [some_value(kind.value_type, seed)] * 2
    makers = {pa.string(): f"text {seed}", pa.binary(): bytes([seed]), pa.bool_(): bool(seed % 2)}
    if pa.types.is_timestamp(kind):
        return seed
    return makers.get(kind, float(seed) if pa.types.is_floating(kind) else seed)


@pytest.fixture(scope="module")
def lake(folder: Path) -> Location:
    """A lake whose tables all have rows; those that these videos leave empty have made-up ones."""
    place = lake_of(folder, "stated", tuple(VIDEOS))
    tables = Tables(place)
    for table in tables:
        if not table.rows():
            row = {field.name: some_value(field.type, 1) for field in table.schema}
            table.append([{**row, "track": 0, "num_rows": 1, "num_rows_planned": 9}])
    return place


@pytest.fixture(scope="module")
def stated(lake: Location) -> Digest:
    return digest(lake)


@pytest.fixture
def copy(lake: Location, tmp_path: Path) -> Location:
    shutil.copytree(lake.path, tmp_path / "copy")
    return Location(str(tmp_path / "copy"))


def test_a_digest_has_a_version_and_two_hashes(stated: Digest, copy: Location) -> None:
    assert stated.version == VERSION
    assert len({stated.content, stated.layout, stated.total}) == 3
    assert digest(copy) == stated, "a copy is the same lake"


HISTORIES: dict[str, tuple[tuple[tuple[str, ...], ...], dict[str, Any]]] = {
    "one by one": ((("walk/c.mp4",), ("run/b.mp4",), ("walk/a.mp4",)), {}),
    "the last first": ((("run/b.mp4", "walk/c.mp4"), ("walk/a.mp4",)), {}),
    "longer slots": ((tuple(VIDEOS),), {"units": {"slot_frames": 64, "slots": 1}}),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_content_is_equal_after_another_history(folder: Path, history: str) -> None:
    wanted = digest(lake_of(folder, "at once", tuple(VIDEOS)))
    arrivals, changes = HISTORIES[history]
    found = digest(lake_of(folder, history, *arrivals, **changes))
    assert found.content == wanted.content
    assert found.layout != wanted.layout, "another place for the same videos, else this test sees nothing"


def test_content_and_layout_are_equal_after_a_product_was_dropped_and_added(folder: Path) -> None:
    place = lake_of(folder, "dropped", tuple(VIDEOS))
    before, receipts = digest(place), Tables(place).receipts
    receipts.overwrite(row for row in receipts.rows() if row["product"] != "color")
    create.drop_product(place, "color")
    without = digest(place)
    assert without.content != before.content
    assert without.layout != before.layout
    assert digest(lake_of(folder, "dropped", ())) == before


def test_videos_that_left_the_corpus_are_not_content(folder: Path) -> None:
    wanted = digest(lake_of(folder, "few", ("walk/a.mp4",)))
    place = lake_of(folder, "left", ("walk/a.mp4",), ("run/b.mp4",))
    tables = Tables(place)
    (kept,) = (row["video_id"] for row in tables.sources.rows() if row["uri"].endswith("a.mp4"))
    for table in (tables.sources, tables.clips):  # what a run does where a video is gone
        table.overwrite(row for row in table.rows() if row["video_id"] == kept)
    assert digest(place).content == wanted.content


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{table.name}-{column}" for table, column in COLUMNS])
def test_every_column_that_is_stated_counts(copy: Location, stated: Digest, table: TableSchema, column: str) -> None:
    change(copy, table, [column])
    found = digest(copy)
    if column in table.digested("content"):
        assert found.content != stated.content
    assert found.layout != stated.layout


@pytest.mark.parametrize("table", schema.ALL, ids=[table.name for table in schema.ALL])
def test_no_other_column_counts(copy: Location, stated: Digest, table: TableSchema) -> None:
    others = set(table.columns) - set(table.digested("content", "layout"))
    if others:
        change(copy, table, sorted(others))
        assert digest(copy) == stated


def change(lake: Location, table: TableSchema, columns: list[str]) -> None:
    """Give the first row of a table other values in some columns."""
    opened = Tables(lake).open(table)
    first, *others = opened.rows()
    for column in columns:
        kind = opened.schema.field(column).type
        first[column] = next(v for seed in (3, 4) if (v := some_value(kind, seed)) != first[column])
    assert opened.overwrite([first, *others])


def test_what_is_stated_leaves_out_places_times_of_day_and_units() -> None:
    assert {table.name for table in schema.ALL if not table.digested("content", "layout")} == {
        "spans", "annotations", "receipts", "runs",
    }  # fmt: skip
    numbers = {"track", "row_start", "row_stop"}
    for table in schema.ALL:
        assert numbers.isdisjoint(table.digested("content")), "row numbers follow from the history"
    assert {"uri", "version", "message"}.isdisjoint(schema.SOURCES.digested("content", "layout"))


COORDINATES = [
    *(("pixels", name) for name in ("track", "seconds", "pts_seconds", "y", "x")),
    *((product, name) for product in ("motion", "color") for name in ("track", "seconds", "y", "x")),
]


@pytest.mark.parametrize(("product", "name"), COORDINATES)
def test_every_coordinate_counts(copy: Location, stated: Digest, product: str, name: str) -> None:
    array = arrays.open_array(copy, f"{product}/{name}", mode="r+")
    values = np.asarray(array[:])
    values[1] += 0.001 if values.dtype == np.float64 else 1
    array[:] = values
    found = digest(copy)
    assert found.content != stated.content
    assert found.layout == stated.layout


@pytest.mark.parametrize("product", ["pixels", "motion", "color"])
def test_names_of_channels_count(copy: Location, stated: Digest, product: str) -> None:
    array = arrays.open_array(copy, f"{product}/channel", mode="r+")
    array[:1] = np.array(["another"], dtype=object)
    assert digest(copy).content != stated.content


@pytest.fixture(scope="module")
def changed_again_and_again(lake: Location, tmp_path_factory: pytest.TempPathFactory) -> Location:
    place = tmp_path_factory.mktemp("changed") / "copy"
    shutil.copytree(lake.path, place)
    return Location(str(place))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_value_counts(changed_again_and_again: Location, stated: Digest, data: st.DataObject) -> None:
    place = changed_again_and_again
    product = data.draw(st.sampled_from(["pixels", "motion", "color"]))
    array = arrays.open_array(place, f"{product}/{'frames' if product == 'pixels' else 'features'}", mode="r+")
    held = np.flatnonzero(np.asarray(arrays.open_array(place, f"{product}/track")[:]) >= 0)
    at = (int(data.draw(st.sampled_from(held.tolist()))), *(data.draw(st.integers(0, n - 1)) for n in array.shape[1:]))
    before = np.asarray(array[at])
    array[at] = before + np.asarray(1, before.dtype)
    assert digest(place).content != stated.content
    array[at] = before
    assert digest(place).content == stated.content


def test_times_are_content_where_no_frame_is_kept(folder: Path) -> None:
    place = lake_of(folder, "no frames", ("walk/a.mp4",), frames={"size": [48, 64], "fps": 10, "keep": False})
    before = digest(place)
    array = arrays.open_array(place, "pixels/pts_seconds", mode="r+")
    array[1:2] = np.asarray(array[1:2]) + 0.001
    assert digest(place).content != before.content


@pytest.mark.parametrize("what", ["values", "track", "seconds", "length"])
def test_verify_names_the_rows_that_are_not_as_committed(copy: Location, what: str) -> None:
    assert list(verify(copy)) == []
    if what == "length":
        array = arrays.open_array(copy, "color/features", mode="r+")
        array.resize((1, *array.shape[1:]))
    else:
        array = arrays.open_array(copy, f"color/{'features' if what == 'values' else what}", mode="r+")
        array[1:2] = np.full_like(np.asarray(array[1:2]), np.nan if what == "seconds" else 3)
    sentences = {
        "values": "the values are not those that were committed",
        "track": "the track coordinate is not 0",
        "seconds": "the seconds coordinate has gaps",
        "length": "the array ends at 1",
    }
    found = list(verify(copy))
    assert found
    assert sentences[what] in found[0]
    assert found[0].startswith("color rows [0, ")
