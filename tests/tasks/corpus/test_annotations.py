"""Files of boxes say what they mean in every format, and their names lead to the sources they mean."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from patchlake.tasks.corpus.annotations import match, read_boxes
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.storage.uris import object_uri, uri_of
from patchlake.tasks.types import BoxPath, Source


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_boxes_of_a_track_are_one_path_in_order_of_time(tmp_path: Path, kind: str) -> None:
    def row(*values: str) -> dict[str, str]:
        return dict(zip(["video", "track", "seconds", "x", "y", "width", "height", "label"], values, strict=True))

    rows = [
        row("a.mp4", "rat 1", "2", "4", "5", "6", "7", ""),
        row("a.mp4", "", "", "-1", "0.5", "2", "3", "cage"),
        row("b.mp4", "rat 1", "0:00:09", "1", "1", "1", "1", ""),
        row("a.mp4", "rat 1", "0.5", "1", "2", "3", "4", "sick"),
        row("a.mp4", "rat 1", "1.5", "2", "3", "4", "5", "sick"),
    ]
    assert read_boxes(write(tmp_path / f"boxes.{kind}", rows)) == (
        ("a.mp4", BoxPath(name="rat 1", seconds=(0.5, 1.5, 2.0), boxes=((1, 2, 3, 4), (2, 3, 4, 5), (4, 5, 6, 7)),
                          label="sick")),
        ("a.mp4", BoxPath(name="box", boxes=((-1.0, 0.5, 2.0, 3.0),), label="cage")),
        ("b.mp4", BoxPath(name="rat 1", seconds=(9.0,), boxes=((1.0, 1.0, 1.0, 1.0),))),
    )  # fmt: skip


def test_the_least_that_a_file_of_boxes_says(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.csv", [{"uri": "a.mp4", "x": 1, "y": 2, "width": 3, "height": 4}])
    assert read_boxes(path) == (("a.mp4", BoxPath(name="box", boxes=((1.0, 2.0, 3.0, 4.0),))),)


BAD_BOXES: list[tuple[str, str, list[str]]] = [
    ("b.csv", "video,x,y,width\na,1,2,3\n", ["b.csv, row 1", "height None", "source pixels"]),
    ("b.csv", "video,x,y,width,height\na,1,2,3,0\n", ["row 1", "height '0'", "> 0"]),
    ("b.csv", "video,x,y,width,height\na,1,far,3,3\n", ["row 1", "y 'far'", "finite number"]),
    ("b.csv", "video,x,y,width,height\na,1,2,3,4\na,1,2,3,5\n", ["row 1", "seconds", "has 2 rows"]),
    ("b.csv", "video,seconds,x,y,width,height\na,1,1,2,3,4\na,1.0,1,2,3,5\n", ["row 2", "seconds '1.0'", "row 1"]),
    ("b.csv", "video,seconds,x,y,width,height,label\na,1,1,2,3,4,m\na,2,1,2,3,5,n\n", ["row 2", "'m' as in row 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "parts"), BAD_BOXES)
def test_what_is_wrong_is_said_by_file_row_and_column(
    tmp_path: Path, name: str, content: str, parts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError) as caught:
        read_boxes(str(tmp_path / name))
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_file_that_is_not_there_is_a_recipe_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.csv does not exist"):
        read_boxes(str(tmp_path / "nowhere.csv"))


def sources(*uris: str) -> list[Source]:
    return [Source(uri=uri, size=1, version="1") for uri in uris]


def test_names_are_uris_paths_ends_of_paths_or_names_without_suffix() -> None:
    corpus = sources(
        "/data/run/a.mp4", "/data/jump/a.mp4", "/data/jump/b c.mp4", uri_of("/data/é 100%.mkv"), "/data/v_Xy-1.mp4",
        object_uri("bucket", "deep/d é.mp4"), "/data/two.mp4", "/data/two.avi", "/lists/near.mp4", "/data/near.mp4",
    )  # fmt: skip
    means = {
        "/data/run/a.mp4": "/data/run/a.mp4",
        "/data/%C3%A9 100%25.mkv": "/data/%C3%A9 100%25.mkv",
        "/data/é 100%.mkv": "/data/%C3%A9 100%25.mkv",
        "é 100%": "/data/%C3%A9 100%25.mkv",
        "../data/run/a.mp4": "/data/run/a.mp4",
        "near.mp4": "/lists/near.mp4",  # beside the file: before any other
        "run/a.mp4": "/data/run/a.mp4",
        "./jump/a": "/data/jump/a.mp4",
        "b c": "/data/jump/b c.mp4",
        "Xy-1": "/data/v_Xy-1.mp4",
        "v_Xy-1": "/data/v_Xy-1.mp4",
        "s3://bucket/deep/d é.mp4": "s3://bucket/deep/d %C3%A9.mp4",
        "deep/d é": "s3://bucket/deep/d %C3%A9.mp4",
        "two.avi": "/data/two.avi",
    }
    not_there = {"ump/b c.mp4", "c", "a.avi", "/run/b c.mp4", "unknown"}
    found, unmatched = match({*means, *not_there}, corpus, file="/lists/events.csv")
    assert found == means
    assert unmatched == tuple(sorted(not_there))


def test_names_are_relative_to_a_file_in_a_store() -> None:
    corpus = sources(object_uri("bucket", "lists/a é.mp4"), object_uri("bucket", "videos/a é.mp4"))
    found, _ = match(["a é.mp4", "../videos/a é.mp4"], corpus, file="s3://bucket/lists/events.csv")
    assert found == {"a é.mp4": corpus[0].uri, "../videos/a é.mp4": corpus[1].uri}


@pytest.mark.parametrize("name", ["a.mp4", "two", "v"])
def test_a_name_of_several_sources_is_an_error_that_names_them(name: str) -> None:
    corpus = sources("/x/run/a.mp4", "/x/jump/a.mp4", "/x/two.mp4", "/x/two.avi", "/x/v_v.mp4", "/y/v_v.mp4")
    with pytest.raises(RecipeError) as caught:
        match([name, "/x/two.mp4"], corpus, file="/lists/events.csv")
    candidates = [s.uri for s in corpus if name.split(".")[0] in s.uri.rpartition("/")[2].split(".")[0]]
    assert len(candidates) == 2
    assert [part for part in ["/lists/events.csv", repr(name), *candidates] if part not in str(caught.value)] == []


def test_that_no_name_is_known_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"none of its 2 videos .*'x'.* 1 sources such as /data/a.mp4"):
        match(["x", "y"], sources("/data/a.mp4"), file="/lists/events.csv")
    assert match([], sources("/data/a.mp4"), file="/lists/events.csv") == ({}, ())


@pytest.mark.parametrize("name", ["C:\\data\\run\\a.mp4", "run\\a.mp4", "D:\\elsewhere\\b.mp4", "..\\x\\b"])
def test_windows_paths_match_by_their_end_or_unique_file_name(name: str) -> None:
    corpus = sources("/data/run/a.mp4", "/data/jump/a.mp4", "/data/b.mp4")
    found, unmatched = match([name], corpus, file="/lists/events.csv")
    assert found == {name: "/data/b.mp4" if "b" in name.rpartition("\\")[2] else "/data/run/a.mp4"}
    assert unmatched == ()
