"""Every file of a corpus is found, whatever its name, in one order; nothing is followed out of the folder."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from patchlake.tasks.discover import SUFFIXES, discover
from patchlake.tasks.errors import NothingFoundError, RecipeError
from patchlake.tasks.recipe import Corpus
from patchlake.tasks.types import Source
from patchlake.tasks.uris import path_of, uri_of

NAMES = [
    b"plain.mp4", b"with space.mp4", b"'quotes\".mp4", b"two\nlines.mp4", b"tab\t.mp4", b"bad\xff\xfe.mp4",
    "🎬 é.mp4".encode(), b"100%.mp4", b"%41.mp4", b"UPPER.MP4", b"-dash.mp4", b".hidden.mp4",
    b"a;b&c|d$e`f.mp4", b"[glob]*?.mp4",
]  # fmt: skip


def make(folder: Path, *names: str | bytes) -> None:
    """Write files that hold their own name."""
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.path.basename(path))


def found(place: Path | str, labels: str = "none") -> tuple[Source, ...]:
    return discover(Corpus(videos=str(place), labels=labels))


def names_of(sources: tuple[Source, ...], folder: Path) -> list[str]:
    return [os.path.relpath(os.fsdecode(path_of(source.uri)), folder) for source in sources]


def test_folders_are_searched_to_the_bottom_in_one_order(tmp_path: Path) -> None:
    make(
        tmp_path,
        "b.mp4",
        "a/z.mkv",
        "a/b/c/d.webm",
        "c/notes.txt",
        "a.avi",
        "c/x.mp4.part",
        "c/x.mov",
        "noext",
        "mp4",
    )
    sources = found(tmp_path)
    assert names_of(sources, tmp_path) == ["a.avi", "a/b/c/d.webm", "a/z.mkv", "b.mp4", "c/x.mov"]
    assert [s.uri for s in sources] == sorted(s.uri for s in sources)
    assert {s.status for s in sources} == {"ok"}
    assert found(tmp_path) == sources


def test_size_and_version_are_the_file_s(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    os.utime(tmp_path / "a.mp4", ns=(1, 1_234_567_890_123_456_789))
    (source,) = found(tmp_path)
    assert (source.uri, source.size, source.version) == (f"{tmp_path}/a.mp4", 5, "1234567890123456789")
    os.utime(tmp_path / "a.mp4", ns=(1, 1_234_567_890_123_456_790))
    assert found(tmp_path)[0].version != source.version


def test_any_name_is_found_and_its_uri_leads_back(tmp_path: Path) -> None:
    make(tmp_path, *NAMES)
    sources = found(tmp_path)
    assert {os.path.basename(path_of(s.uri)) for s in sources} == set(NAMES)
    for source in sources:
        assert source.uri.isascii()
        assert source.uri.isprintable()
        with open(path_of(source.uri), "rb") as file:
            assert file.read() == os.path.basename(path_of(source.uri))


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_suffixes_count_whatever_their_case(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, f"a{suffix}", f"b{suffix.upper()}")
    assert len(found(tmp_path)) == 2


def test_links_to_files_count_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    make(inside, "a.mp4", "sub/b.mp4")
    make(outside, "c.mp4")
    (inside / "loop").symlink_to(inside)
    (inside / "sub" / "up.mp4").symlink_to("..", target_is_directory=True)
    (inside / "away").symlink_to(outside)
    (inside / "link.mp4").symlink_to(inside / "a.mp4")
    (inside / "file_away.mp4").symlink_to(outside / "c.mp4")
    sources = found(inside)
    assert names_of(sources, inside) == ["a.mp4", "file_away.mp4", "link.mp4", "sub/b.mp4"]
    assert {s.status for s in sources} == {"ok"}


def test_what_can_not_be_read_is_a_source_with_its_reason(tmp_path: Path) -> None:
    make(tmp_path, "ok.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop_a.mp4").symlink_to(tmp_path / "loop_b.mp4")
    (tmp_path / "loop_b.mp4").symlink_to(tmp_path / "loop_a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    verdicts = {names_of((s,), tmp_path)[0]: (s.status, s.reason) for s in found(tmp_path)}
    assert verdicts == {
        "ok.mp4": ("ok", None),
        "dangling.mp4": ("rejected", "missing"),
        "loop_a.mp4": ("rejected", "symlink_loop"),
        "loop_b.mp4": ("rejected", "symlink_loop"),
        "pipe.mp4": ("rejected", "unreadable"),
    }
    assert all(s.message for s in found(tmp_path) if s.status != "ok")


def test_a_folder_named_like_a_video_is_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "clip.mp4/inner.mp4")
    assert names_of(found(tmp_path), tmp_path) == ["clip.mp4/inner.mp4"]


def test_a_file_named_outright_counts_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, "film", "film.txt")
    assert names_of(found(tmp_path / "film"), tmp_path) == ["film"]
    assert names_of(found(tmp_path / "film.txt"), tmp_path) == ["film.txt"]


def test_globs_find_videos_and_cross_folders_with_two_stars(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.txt", "x/c.mp4", "x/y/d.mp4", "x/e.mkv")
    assert names_of(found(tmp_path / "*"), tmp_path) == ["a.mp4"]
    assert names_of(found(tmp_path / "**/*.mp4"), tmp_path) == ["a.mp4", "x/c.mp4", "x/y/d.mp4"]
    assert names_of(found(tmp_path / "x/[c-e].*"), tmp_path) == ["x/c.mp4", "x/e.mkv"]


def test_labels_come_from_folders_or_not_at_all(tmp_path: Path) -> None:
    make(tmp_path, "run/a.mp4", "jump/b.mp4", "jump/deep down/c.mp4", "é🎬/d.mp4", "e.mp4")
    labels = {names_of((s,), tmp_path)[0]: s.label for s in found(tmp_path, labels="folder")}
    assert labels == {
        "run/a.mp4": "run", "jump/b.mp4": "jump", "jump/deep down/c.mp4": "deep down", "é🎬/d.mp4": "é🎬",
        "e.mp4": tmp_path.name,
    }  # fmt: skip
    assert {s.label for s in found(tmp_path)} == {None}


def test_a_label_can_be_stored_whatever_the_folder_s_bytes(tmp_path: Path) -> None:
    make(tmp_path, b"bad\xff/a.mp4", b"bad\xfe/b.mp4")
    labels = [s.label for s in found(tmp_path, labels="folder")]
    assert len(set(labels)) == 2
    assert pa.array(labels).to_pylist() == labels


ROWS = [
    {"uri": "a.mp4", "label": "run", "split": "train", "group": "g1"},
    {"uri": "sub/b c.mp4", "label": "jump", "split": "test", "group": "g2"},
    {"uri": "film", "label": "", "split": "", "group": ""},
    {"uri": "gone.mp4", "label": "7", "split": "", "group": "g1"},
]


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
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


BAD_MANIFESTS: list[tuple[str, bytes, list[str]]] = [
    ("list.csv", b"path,label\na.mp4,run\n", ["path, label", "expected uri"]),
    ("list.csv", b"uri,split\na.mp4,validation\n", ["row 1", "'validation'", "train or test"]),
    ("list.csv", b"uri,label\na.mp4,x\n,y\n", ["row 2", "uri ''"]),
    ("list.csv", b"uri\n\xff\xfe.mp4\n", ["list.csv"]),
    ("list.json", b'{"uri": "a.mp4"}', ["list.json", "list of rows"]),
    ("list.json", b'["a.mp4"]', ["list.json", "list of rows"]),
    ("list.json", b'[{"uri": 5}]', ["row 1", "uri 5"]),
    ("list.json", b"[{", ["list.json"]),
    ("list.parquet", b"no parquet", ["list.parquet"]),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_MANIFESTS)
def test_bad_manifests_are_recipe_errors(tmp_path: Path, name: str, content: bytes, parts: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        found(tmp_path / name)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_what_does_not_exist_is_a_recipe_error(tmp_path: Path) -> None:
    for name in ("nowhere", "nowhere.csv", "nowhere/a.mp4"):
        with pytest.raises(RecipeError, match="does not exist") as caught:
            found(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert not isinstance(caught.value, NothingFoundError)


def test_nothing_found_is_said_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path, "texts/a.txt", "texts/b.jpg")
    (tmp_path / "none.json").write_text("[]")
    for place in ("empty", "texts", "texts/*", "none.json"):
        with pytest.raises(NothingFoundError, match=r"\.mp4"):
            found(tmp_path / place)
