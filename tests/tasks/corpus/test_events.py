"""Files of events say when what happens, in the forms that people and programs write."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from patchlake.tasks.corpus.events import read_events as read_event_file
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.types import Annotation


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


def read_events(path: str) -> tuple[tuple[str, Annotation], ...]:
    return read_event_file(path).events


def event(start: float | None, stop: float | None, label: str | None, **attributes: str) -> Annotation:
    said = tuple((name.replace("_", " "), value) for name, value in attributes.items())
    return Annotation(start_seconds=start, stop_seconds=stop, label=label, attributes=said)


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


def test_boris_aggregated_events_are_read_points_too(tmp_path: Path) -> None:
    nobody = "No focal subject"
    expected = [
        ("cages/a.mp4", event(3.25, 10.0, "groom", Subject=nobody)),
        ("cages/a.mp4", event(12.5, 12.5, "bite", Subject=nobody)),
        ("cages/b.mp4", event(0.0, 59.5, "sleep", Subject="rat 1")),
    ]
    (tmp_path / "boris.tsv").write_text(BORIS)
    assert read_events(str(tmp_path / "boris.tsv")) == tuple(expected)
    (tmp_path / "boris.csv").write_text(BORIS.replace("\t", ","))
    assert read_events(str(tmp_path / "boris.csv")) == tuple(expected)
    (tmp_path / "old.tsv").write_text(BORIS.replace("Media file name", "Comment"))
    assert [name for name, _ in read_events(str(tmp_path / "old.tsv"))] == ["day 1", "day 1", "day 2"]


BAD_EVENTS: list[tuple[str, str, list[str]]] = [
    ("e.csv", "start,stop\n1,2\n", ["e.csv", "columns start, stop", "uri, video, file, path"]),
    ("e.csv", "video,start,stop\na,1,2\na,2,1\n", ["e.csv, row 2", "stop '1'", "more than start, which is 2"]),
    ("e.csv", "video,start\n,1\n", ["row 1", "video ''", "name of a video"]),
    ("e.json", '{"videos": []}', ["e.json", "database", "list of rows"]),
    ("e.json", '{"database": {"v": {"annotations": [{"segment": [1]}]}}}', ["video 'v'", "annotation 1", "segment"]),
    ("e.json", '{"database": {"v": {"annotations": [{"segment": [2, 1]}]}}}', ["video 'v'", "stop 1", "more than"]),
    ("e.json", '{"database": {"v": 5}}', ["video 'v'", "expected"]),
    ("e.tsv", BORIS.replace("10.0\t6.75", "1.0\t6.75"), ["row 1", "Stop (s) '1.0'", "3.25"]),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_EVENTS)
def test_what_is_wrong_is_said_by_file_row_and_column(
    tmp_path: Path, name: str, content: str, parts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError) as caught:
        read_events(str(tmp_path / name))
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_file_that_is_not_there_is_a_recipe_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.csv does not exist"):
        read_events(str(tmp_path / "nowhere.csv"))


TABULAR = """\
Observation id\tday 1

Media file(s)

Observation date\t2024-01-05 10:00:00

Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tModifiers\tComment\tStatus
1.5\tcages/a.mp4\t60\t25\trat 1\tgroom\tcare\tlong\t\tSTART
2.0\tcages/a.mp4\t60\t25\trat 2\tgroom\tcare\t\t\tSTART
2.25\tcages/a.mp4\t60\t25\trat 1\tbite\t\t\tlook\tPOINT
4.0\tcages/a.mp4\t60\t25\trat 1\tgroom\tcare\t\t\tSTOP
9.0\tcages/a.mp4\t60\t25\trat 1\tgroom\tcare\t\t\tSTOP
"""


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_boris_tabular_events_are_paired_by_video_subject_and_behaviour(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tabular{suffix}"
    path.write_text(TABULAR if suffix == ".tsv" else TABULAR.replace("\t", ","))
    found = read_event_file(str(path))
    category = {"Behavioral_category": "care"}
    assert found.events == (
        ("cages/a.mp4", event(2.25, 2.25, "bite", Subject="rat 1", Comment="look")),
        ("cages/a.mp4", event(1.5, 4.0, "groom", Subject="rat 1", **category, Modifiers="long")),
    )
    assert found.left_out == {"a start without a stop": 1, "a stop without a start": 1}


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("start_time,end_time", "1,2.5"), ("Start,End", "1,2.5"), ("start, stop", "1, 2.5"),
        ("onset,duration", "1,1.5"),
        ("Start (s),Stop (s)", "1,2.5"), ("start_sec,end_sec", "1.0,2.5"), ("begin,end", "0:01,0:02.5"),
        ("startTime,endTime", "00:00:01,00:00:02.500"), ("from,to", '"0:01","00:00:02,5"'),
    ],
)  # fmt: skip
def test_times_have_many_names_and_forms(tmp_path: Path, header: str, cells: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"video,{header},Label,person\na.mp4,{cells},run,ada\n")
    assert read_events(str(path)) == (("a.mp4", event(1.0, 2.5, "run", person="ada")),)


@pytest.mark.parametrize("header", ["start_frame,end_frame", "Start Frame,Stop Frame", "frame_start,frame_end"])
def test_frames_count_from_zero_and_the_last_one_belongs_to_the_event(tmp_path: Path, header: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"video,{header},label\na.mp4,0,49,run\na.mp4,50,50,jump\n")
    assert read_events(str(path)) == (
        ("a.mp4", Annotation(start_frame=0, stop_frame=50, label="run")),
        ("a.mp4", Annotation(start_frame=50, stop_frame=51, label="jump")),
    )


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("video,label", ["columns label", "start and stop", "start_frame"]),
        ("video,anfang,ende,label", ["anfang, ende", "start and stop"]),
        ("video,start,finish,label", ["finish", "stop or end"]),
        ("video,start,end_time,t_end,label", ["'end_time' and 't_end'", "both mean stop"]),
        ("video,start,start,label", ["two columns 'start'"]),
    ],
)
def test_times_that_are_not_understood_are_refused_with_the_columns_named(
    tmp_path: Path, header: str, parts: list[str]
) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"{header}\n" + ",".join(["1"] * (header.count(",") + 1)) + "\n")
    with pytest.raises(RecipeError) as caught:
        read_events(str(path))
    assert [part for part in parts if part not in str(caught.value)] == []


def test_an_event_that_lasts_no_time_is_a_point(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"database": {"v": {"annotations": [{"segment": [0, 0], "label": "x"}]}}}))
    assert read_events(str(path)) == (("v", event(0.0, 0.0, "x")),)
    (tmp_path / "e.csv").write_text("video,start,end\na,1,1\n")
    assert read_events(str(tmp_path / "e.csv")) == (("a", event(1.0, 1.0, None)),)
