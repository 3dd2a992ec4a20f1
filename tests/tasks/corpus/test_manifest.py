"""Manifests say what they mean in every format; what is wrong in one is said by file, row and column."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from corpus_files import NAMES, found, make, names_of

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.types import Annotation

ROWS = [
    {"uri": "a.mp4", "label": "run", "split": "train", "group": "g1"},
    {"uri": "sub/b c.mp4", "label": "jump", "split": "test", "group": "g2"},
    {"uri": "film", "label": "", "split": "", "group": ""},
    {"uri": "gone.mp4", "label": "7", "split": "", "group": "g1"},
]


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_manifests_list_files_with_labels_splits_and_groups(tmp_path: Path, kind: str) -> None:
    make(tmp_path, "a.mp4", "sub/b c.mp4", "film", "not_listed.mp4")
    manifest = write_manifest(tmp_path / f"list.{kind}", ROWS)
    sources = {names_of((s,), tmp_path)[0]: s for s in found(manifest, labels="column")}
    assert {name: (s.label, s.split, s.group, s.status) for name, s in sources.items()} == {
        "a.mp4": ("run", "train", "g1", "ok"),
        "sub/b c.mp4": ("jump", "test", "g2", "ok"),
        "film": (None, None, None, "ok"),
        "gone.mp4": ("7", None, "g1", "rejected"),
    }
    assert sources["gone.mp4"].reason == "missing"
    assert {s.label for s in found(manifest, labels="none")} == {None}
    by_folder = {names_of((s,), tmp_path)[0]: s.label for s in found(manifest, labels="folder")}
    assert (by_folder["sub/b c.mp4"], by_folder["a.mp4"]) == ("sub", tmp_path.name)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_manifests_hold_odd_names_and_absolute_paths(tmp_path: Path, kind: str) -> None:
    names = [os.fsdecode(name) for name in NAMES if b"\xff" not in name]
    make(tmp_path / "else where", *names)
    (tmp_path / "lists").mkdir()
    rows = [
        {"uri": f"../else where/{name}" if i % 2 else str(tmp_path / "else where" / name)}
        for i, name in enumerate(names)
    ]
    sources = found(write_manifest(tmp_path / "lists" / f"list.{kind}", rows))
    assert sorted(s.uri for s in sources) == sorted(uri_of(tmp_path / "else where" / name) for name in names)
    assert {s.status for s in sources} == {"ok"}


def test_a_spreadsheet_s_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("uri,label\na.mp4,run\n", encoding="utf-8-sig")
    assert [s.label for s in found(tmp_path / "list.csv", labels="column")] == ["run"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_parts_boxes_and_targets_become_annotations_in_order(tmp_path: Path, kind: str) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    texts = {"start": "", "stop": "", "box": "", "target": "", "target_speed": "", "targets": ""}
    rows = [
        {"uri": "a.mp4", "label": "run", **texts, "start": "1.5", "stop": "0:01:02.25", "note": "any text"},
        {"uri": "b.mp4", "label": "still", **texts, "note": ""},
        {"uri": "./a.mp4", "label": "", **texts, "box": "10 20.5 30 40", "target_speed": "-2e-1"},
        {"uri": "a.mp4", "label": "fall", **texts, "start": "2", "target": "7", "targets": '{"age": 3, "none": null}'},
        {"uri": "sub/../a.mp4", "label": "all", **texts, "box": "", "note": "x"},
    ]
    sources = {names_of((s,), tmp_path)[0]: s for s in found(write_manifest(tmp_path / f"l.{kind}", rows), "column")}
    assert sources["a.mp4"].label == "run"
    assert sources["a.mp4"].annotations == (
        Annotation(start_seconds=1.5, stop_seconds=62.25, label="run", attributes=(("note", "any text"),)),
        Annotation(box=(10.0, 20.5, 30.0, 40.0), targets=(("speed", -0.2),)),
        Annotation(start_seconds=2.0, label="fall", targets=(("target", 7.0), ("age", 3.0))),
        Annotation(label="all", attributes=(("note", "x"),)),
    )
    assert (sources["b.mp4"].label, sources["b.mp4"].annotations) == ("still", ())
    unlabelled = {names_of((s,), tmp_path)[0]: s for s in found(tmp_path / f"l.{kind}", "none")}
    assert {a.label for a in unlabelled["a.mp4"].annotations} == {None}
    assert [a.start_seconds for a in unlabelled["a.mp4"].annotations] == [1.5, None, 2.0, None]
    by_folder = {names_of((s,), tmp_path)[0]: s for s in found(tmp_path / f"l.{kind}", "folder")}
    assert {a.label for a in by_folder["a.mp4"].annotations} == {tmp_path.name}


def test_json_and_parquet_hold_values_of_their_own_types(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    row = {"uri": "a.mp4", "start": 1, "stop": 2.5, "box": [1, 2, 3.5, 4], "target_n": 5, "targets": {"m": 0.5}}
    expected = Annotation(
        start_seconds=1.0, stop_seconds=2.5, box=(1.0, 2.0, 3.5, 4.0), targets=(("n", 5.0), ("m", 0.5))
    )
    for kind in ("json", "parquet"):
        (source,) = found(write_manifest(tmp_path / f"list.{kind}", [row]))
        assert source.annotations == (expected,)
    nothing = {"uri": "a.mp4", "start": float("nan"), "stop": None, "box": None, "target_n": None, "targets": None}
    table = pa.table({name: pa.array([value], from_pandas=False) for name, value in nothing.items()})
    pa.parquet.write_table(table, tmp_path / "nothing.parquet")
    assert found(tmp_path / "nothing.parquet")[0].annotations == ()
    kinds = pa.map_(pa.string(), pa.float64())
    table = pa.table({"uri": ["a.mp4"], "targets": pa.array([[("k", 2.0)]], kinds)})
    pa.parquet.write_table(table, tmp_path / "map.parquet")
    assert found(tmp_path / "map.parquet")[0].annotations == (Annotation(targets=(("k", 2.0),)),)


BOXES = ["1 2 3 4", "1,2,3,4", " 1, 2,  3 4 ", "[1, 2, 3, 4]", "(1,2,3,4)", "1.0 2.0 3e0 4."]


@pytest.mark.parametrize("text", BOXES)
def test_boxes_are_read_as_people_write_them(tmp_path: Path, text: str) -> None:
    make(tmp_path, "a.mp4")
    (source,) = found(write_manifest(tmp_path / "list.csv", [{"uri": "a.mp4", "box": text}]))
    assert source.annotations == (Annotation(box=(1.0, 2.0, 3.0, 4.0)),)


def test_rows_of_one_file_may_leave_out_what_another_says(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    rows = [
        {"uri": "a.mp4", "split": "", "group": "g", "start": "0"},
        {"uri": "a.mp4", "split": "test", "group": "", "start": "1"},
    ]
    (source,) = found(write_manifest(tmp_path / "list.csv", rows))
    assert (source.split, source.group, len(source.annotations)) == ("test", "g", 2)


def test_tabs_and_semicolons_separate_too(tmp_path: Path) -> None:
    make(tmp_path, "a,b.mp4")
    (tmp_path / "list.tsv").write_text("uri\tlabel\na,b.mp4\tx;y\n")
    (tmp_path / "list.csv").write_text("uri;label\na,b.mp4;x\n")
    assert [(s.status, s.label) for s in found(tmp_path / "list.tsv", "column")] == [("ok", "x;y")]
    assert [(s.status, s.label) for s in found(tmp_path / "list.csv", "column")] == [("ok", "x")]


def test_json_can_name_files_whose_names_are_no_text(tmp_path: Path) -> None:
    make(tmp_path, b"bad\xff.mp4")
    (source,) = found(write_manifest(tmp_path / "list.json", [{"uri": os.fsdecode(b"bad\xff.mp4")}]))
    assert (source.uri, source.status) == (f"{tmp_path}/bad%FF.mp4", "ok")


def test_a_file_that_is_not_there_or_too_long_a_name_is_missing(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    rows = [{"uri": "gone.mp4"}, {"uri": "x" * 300 + ".mp4"}, {"uri": "a.mp4/b.mp4"}]
    assert [s.reason for s in found(write_manifest(tmp_path / "list.csv", rows))] == ["missing"] * 3


BAD_MANIFESTS: list[tuple[str, bytes, list[str]]] = [
    ("list.csv", b"place,label\na.mp4,run\n", ["place, label", "expected uri"]),
    ("list.csv", b"uri,split\na.mp4,now\n", ["row 1", "'now'", "train, validate or test"]),
    ("list.csv", b"uri,label\na.mp4,x\n,y\n", ["row 2", "uri ''"]),
    ("list.csv", b"uri\n\xff\xfe.mp4\n", ["list.csv"]),
    ("list.json", b'{"uri": "a.mp4"}', ["list.json", "list of rows"]),
    ("list.json", b'["a.mp4"]', ["list.json", "list of rows"]),
    ("list.json", b'[{"uri": 5}]', ["row 1", "uri 5"]),
    ("list.json", b"[{", ["list.json"]),
    ("list.parquet", b"no parquet", ["list.parquet"]),
    ("list.csv", b"uri,label\na.mp4,x,y\n", ["row 1", "more cells"]),
    ("list.csv", b"uri\nhttp://host/a.mp4\n", ["row 1", "uri 'http://host/a.mp4'", "s3://"]),
    ("list.csv", b"uri\ns3://bucket\n", ["row 1", "s3://BUCKET/KEY"]),
    ("list.json", b'[{"uri": "a\\u0000.mp4"}]', ["row 1", "uri", "a path"]),
    ("list.json", b'[{"uri": "a\\ud800.mp4"}]', ["row 1", "uri", "encoded"]),
    ("list.json", b'[{"uri": "a.mp4", "label": "\\udc80"}]', ["row 1", "label", "surrogates"]),
    ("list.csv", b"uri,start\na.mp4,-1\n", ["row 1", "start '-1'", ">= 0"]),
    ("list.csv", b"uri,start\na.mp4,soon\n", ["row 1", "start 'soon'", "H:MM:SS"]),
    ("list.csv", b"uri,start\na.mp4,1:75:00\n", ["row 1", "start '1:75:00'", "H:MM:SS"]),
    ("list.csv", b"uri,start,stop\na.mp4,0,1\na.mp4,3,3\n", ["row 2", "stop '3'", "more than start, which is 3"]),
    ("list.csv", b"uri,stop\na.mp4,0\n", ["row 1", "stop '0'", "more than start"]),
    ("list.csv", b"uri,stop\na.mp4,inf\n", ["row 1", "stop 'inf'"]),
    ("list.json", b'[{"uri": "a.mp4", "stop": Infinity}]', ["row 1", "stop inf"]),
    ("list.json", b'[{"uri": "a.mp4", "stop": true}]', ["row 1", "stop True"]),
    ("list.csv", b"uri,box\na.mp4,1 2 3\n", ["row 1", "box '1 2 3'", "x y width height"]),
    ("list.csv", b"uri,box\na.mp4,1 2 0 4\n", ["row 1", "box '1 2 0 4'", "> 0"]),
    ("list.csv", b"uri,box\na.mp4,1 2 nan 4\n", ["row 1", "box '1 2 nan 4'", "finite"]),
    ("list.json", b'[{"uri": "a.mp4", "box": {"x": 1}}]', ["row 1", "box {'x': 1}", "x y width height"]),
    ("list.csv", b"uri,target_x\na.mp4,fast\n", ["row 1", "target_x 'fast'", "finite number"]),
    ("list.json", b'[{"uri": "a.mp4", "target": 1' + b"0" * 400 + b"}]", ["row 1", "target 1000", "finite number"]),
    ("list.csv", b'uri,targets\na.mp4,"{1}"\n', ["row 1", "targets '{1}'", "JSON object"]),
    ("list.csv", b"uri,targets\na.mp4,[1]\n", ["row 1", "targets '[1]'", "JSON object"]),
    ("list.json", b'[{"uri": "a.mp4", "targets": {"x": "y"}}]', ["row 1", "targets", "finite numbers"]),
    ("list.json", b'[{"uri": "a.mp4", "target_x": 1, "targets": {"x": 2}}]', ["row 1", "targets", "x"]),
    ("list.csv", b"uri,split\na.mp4,train\nb.mp4,\n./a.mp4,test\n", ["row 3", "split 'test'", "'train' as in row 1"]),
    ("list.csv", b"uri,group\na.mp4,1\na.mp4,2\n", ["row 2", "group '2'", "'1' as in row 1"]),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_MANIFESTS)
def test_bad_manifests_are_recipe_errors(tmp_path: Path, name: str, content: bytes, parts: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        found(tmp_path / name)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    "text",
    ["uri, label\na.mp4, run\n", "sep=;\nuri;label\na.mp4;run\n", "# by hand\n\nuri,Label\na.mp4,run\n",
     "URI\tLABEL\na.mp4\trun\n", "video,action\na.mp4,run\n", "file,label,category\na.mp4,run,other\n"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_headers_are_understood_as_people_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    make(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text(text, encoding=encoding)
    assert [s.label for s in found(tmp_path / "list.csv", labels="column")] == ["run"]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validate", " dev "])
def test_splits_have_the_usual_names(tmp_path: Path, name: str) -> None:
    make(tmp_path, "a.mp4")
    assert [s.split for s in found(write_manifest(tmp_path / "l.csv", [{"uri": "a.mp4", "split": name}]))] == [
        "validate"
    ]


@pytest.mark.parametrize(("column", "near"), [("lable", "label"), ("spilt", "split"), ("gruop", "group")])
def test_a_misspelt_column_is_refused_with_the_near_name(tmp_path: Path, column: str, near: str) -> None:
    manifest = write_manifest(tmp_path / "list.csv", [{"uri": "a.mp4", column: "run"}])
    with pytest.raises(RecipeError, match=f"'{column}', which is not known; did you mean {near}?"):
        found(manifest)


def test_labels_of_a_column_need_one(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    manifest = write_manifest(tmp_path / "list.csv", [{"uri": "a.mp4", "person": "x"}])
    with pytest.raises(RecipeError, match="columns uri, person, expected label too"):
        found(manifest, labels="column")
    with pytest.raises(RecipeError, match=r"corpus.labels: got column, but .* is no manifest"):
        found(tmp_path, labels="column")


def test_lists_of_paths_and_json_lines_are_manifests(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.txt").write_text("a.mp4\n\nb.mp4\n")
    assert len(found(tmp_path / "list.txt")) == 2
    (tmp_path / "list.jsonl").write_text('{"uri": "a.mp4", "label": "run"}\n{"uri": "b.mp4", "label": "jump"}\n')
    assert [s.label for s in found(tmp_path / "list.jsonl", labels="column")] == ["run", "jump"]


def test_parts_are_told_by_frames_too(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    row = {"uri": "a.mp4", "start_frame": "10", "end_frame": "19"}
    (source,) = found(write_manifest(tmp_path / "list.csv", [row]))
    assert source.annotations == (Annotation(start_frame=10, stop_frame=20),)
