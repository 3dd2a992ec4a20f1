"""Files of events and boxes say what they mean in every format, and their names lead to the sources they mean."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from patchlake.tasks.corpus.annotations import match, read_boxes, read_events
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.storage.uris import object_uri, uri_of
from patchlake.tasks.types import Annotation, BoxPath, Source


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


def event(start: float | None, stop: float | None, label: str | None) -> Annotation:
    return Annotation(start_seconds=start, stop_seconds=stop, label=label)


@pytest.mark.parametrize("name", ["uri", "video", "file", "path"])
@pytest.mark.parametrize("stop", ["stop", "end"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "parquet"])
def test_events_are_read_in_the_file_s_order(tmp_path: Path, kind: str, stop: str, name: str) -> None:
    rows = [
        {name: "b c.mp4", "start": "2.5", stop: "0:00:04.5", "label": "run"},
        {name: "a.mp4", "start": "", stop: "1", "label": ""},
        {name: "b c.mp4", "start": "1", stop: "", "label": "7"},
        {name: "b c.mp4", "start": "1", stop: "3", "label": "run"},
    ]
    assert read_events(write(tmp_path / f"events.{kind}", rows)) == (
        ("b c.mp4", event(2.5, 4.5, "run")),
        ("a.mp4", event(None, 1.0, None)),
        ("b c.mp4", event(1.0, None, "7")),
        ("b c.mp4", event(1.0, 3.0, "run")),
    )


def test_activitynet_s_events_are_read(tmp_path: Path) -> None:
    content = {
        "version": "VERSION 1.3",
        "taxonomy": [],
        "database": {
            "--1DO2V4K74": {
                "duration": 211.53, "subset": "training", "url": "https://www.youtube.com/watch?v=--1DO2V4K74",
                "annotations": [
                    {"segment": [30.02, 205.26], "label": "Powerbocking"}, {"segment": [0, 3], "label": "Rest"},
                ],
            },
            "in_the_test_set": {"duration": 1.0, "subset": "testing", "annotations": []},
            "without": {"duration": 1.0},
        },
    }  # fmt: skip
    (tmp_path / "activity_net.json").write_text(json.dumps(content))
    assert read_events(str(tmp_path / "activity_net.json")) == (
        ("--1DO2V4K74", event(30.02, 205.26, "Powerbocking")),
        ("--1DO2V4K74", event(0.0, 3.0, "Rest")),
    )


BORIS = """\
Observation id\tObservation date\tDescription\tObservation type\tSource\tTotal duration\tMedia duration (s)\tFPS\t\
Subject\tBehavior\tBehavioral category\tBehavior type\tStart (s)\tStop (s)\tDuration (s)\tMedia file name\tComment start
day 1\t2024-01-05 10:00:00\t\tMedia file(s)\tplayer #1:cages/a.mp4\t120.0\t120.0\t25.0\t\
No focal subject\tgroom\t\tSTATE\t3.25\t10.0\t6.75\tcages/a.mp4\t
day 1\t2024-01-05 10:00:00\t\tMedia file(s)\tplayer #1:cages/a.mp4\t120.0\t120.0\t25.0\t\
No focal subject\tbite\t\tPOINT\t12.5\t12.5\tNA\tcages/a.mp4\t
day 2\t2024-01-06 10:00:00\t\tMedia file(s)\tplayer #1:cages/b.mp4\t60.0\t60.0\t25.0\t\
rat 1\tsleep\t\tSTATE\t0.0\t59.5\t59.5\tcages/b.mp4\t
"""


def test_boris_aggregated_events_are_read_and_its_points_left_out(tmp_path: Path) -> None:
    expected = [("cages/a.mp4", event(3.25, 10.0, "groom")), ("cages/b.mp4", event(0.0, 59.5, "sleep"))]
    (tmp_path / "boris.tsv").write_text(BORIS)
    assert read_events(str(tmp_path / "boris.tsv")) == tuple(expected)
    (tmp_path / "boris.csv").write_text(BORIS.replace("\t", ","))
    assert read_events(str(tmp_path / "boris.csv")) == tuple(expected)
    (tmp_path / "old.tsv").write_text(BORIS.replace("Media file name", "Comment"))
    assert [name for name, _ in read_events(str(tmp_path / "old.tsv"))] == ["day 1", "day 2"]


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


BAD_EVENTS: list[tuple[str, str, list[str]]] = [
    ("e.csv", "start,stop\n1,2\n", ["e.csv", "columns start, stop", "uri, video, file, path"]),
    ("e.csv", "video,start,stop\na,1,2\na,2,1\n", ["e.csv, row 2", "stop '1'", "more than start, which is 2"]),
    ("e.csv", "video,start,end\na,1,1\n", ["row 1", "end '1'"]),
    ("e.csv", "video,start\n,1\n", ["row 1", "video ''", "name of a video"]),
    ("e.json", '{"videos": []}', ["e.json", "database", "list of rows"]),
    ("e.json", '{"database": {"v": {"annotations": [{"segment": [1]}]}}}', ["video 'v'", "annotation 1", "segment"]),
    ("e.json", '{"database": {"v": {"annotations": [{"segment": [2, 1]}]}}}', ["video 'v'", "stop 1", "more than"]),
    ("e.json", '{"database": {"v": 5}}', ["video 'v'", "expected"]),
    ("e.tsv", BORIS.replace("10.0\t6.75", "1.0\t6.75"), ["row 1", "Stop (s) '1.0'", "3.25"]),
]
BAD_BOXES: list[tuple[str, str, list[str]]] = [
    ("b.csv", "video,x,y,width\na,1,2,3\n", ["b.csv, row 1", "height None", "source pixels"]),
    ("b.csv", "video,x,y,width,height\na,1,2,3,0\n", ["row 1", "height '0'", "> 0"]),
    ("b.csv", "video,x,y,width,height\na,1,far,3,3\n", ["row 1", "y 'far'", "finite number"]),
    ("b.csv", "video,x,y,width,height\na,1,2,3,4\na,1,2,3,5\n", ["row 1", "seconds", "has 2 rows"]),
    ("b.csv", "video,seconds,x,y,width,height\na,1,1,2,3,4\na,1.0,1,2,3,5\n", ["row 2", "seconds '1.0'", "row 1"]),
    ("b.csv", "video,seconds,x,y,width,height,label\na,1,1,2,3,4,m\na,2,1,2,3,5,n\n", ["row 2", "'m' as in row 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "parts"), BAD_EVENTS + BAD_BOXES)
def test_what_is_wrong_is_said_by_file_row_and_column(
    tmp_path: Path, name: str, content: str, parts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    read = read_events if name.startswith("e") else read_boxes
    with pytest.raises(RecipeError) as caught:
        read(str(tmp_path / name))
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_file_that_is_not_there_is_a_recipe_error(tmp_path: Path) -> None:
    for read in (read_events, read_boxes):
        with pytest.raises(RecipeError, match=r"nowhere\.csv does not exist"):
            read(str(tmp_path / "nowhere.csv"))


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
