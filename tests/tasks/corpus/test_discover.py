"""Every file of a corpus is found, whatever its name, in one order; nothing is followed out of the folder."""

from __future__ import annotations

import csv
import os
import socket
import tarfile
from pathlib import Path

import numbered_clips as clips
import obstore
import pyarrow as pa
import pytest
from corpus_files import NAMES, found, make, names_of
from object_store import BUCKET, put
from obstore.store import S3Store

from patchlake.tasks.corpus.discover import NUM_ASKED
from patchlake.tasks.errors import NothingFoundError, RecipeError
from patchlake.tasks.storage import objects
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.storage.uris import object_of, object_uri, path_of
from patchlake.tasks.video.formats import SUFFIXES


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
    (inside / "roundabout.mp4").symlink_to(outside / "back.mp4")
    (outside / "back.mp4").symlink_to(inside / "a.mp4")
    sources = found(inside)
    assert names_of(sources, inside) == ["a.mp4", "link.mp4", "roundabout.mp4", "sub/b.mp4"]
    assert {s.status for s in sources} == {"ok"}


def test_a_link_out_of_the_folder_is_one_row_and_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    make(root, "a.mp4")
    make(tmp_path / "corpus and more", "b.mp4")
    (root / "away.mp4").symlink_to(tmp_path / "corpus and more" / "b.mp4")  # begins with the root's name
    (root / "far.mp4").symlink_to("/etc/hostname")
    (tmp_path / "link").symlink_to(root)
    for place in (root, tmp_path / "link", f"{root}/../corpus"):
        verdicts = {os.path.basename(path_of(s.uri)): (s.status, s.reason, s.size, s.version) for s in found(place)}
        assert verdicts.pop(b"a.mp4")[:2] == ("ok", None)
        assert verdicts == dict.fromkeys([b"away.mp4", b"far.mp4"], ("rejected", "outside_root", 0, ""))
    (link,) = found(root / "away.mp4")  # named outright, it is what was asked for
    assert link.status == "ok"


def test_a_folder_that_can_not_be_listed_is_a_row(tmp_path: Path) -> None:
    """Permissions do not stop root, who may run the tests; a path that is too long stops everyone."""
    make(tmp_path, "a.mp4")
    here = os.open(tmp_path, os.O_DIRECTORY)
    try:
        for _ in range(17):
            os.mkdir("d" * 250, dir_fd=here)
            deeper = os.open("d" * 250, os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(os.open("deep.mp4", os.O_CREAT, dir_fd=here))
    finally:
        os.close(here)
    sources = found(tmp_path)
    assert [(s.status, s.reason) for s in sources] == [("ok", None), ("rejected", "unreadable")]
    assert sources[1].uri.startswith(f"{tmp_path}/dddd")
    assert "listed" in sources[1].message


@pytest.mark.shared_videos
def test_every_nasty_name_is_a_row_with_the_agreed_verdict(tmp_path: Path) -> None:
    with tarfile.open(clips.shared_videos() / "nasty.tar") as tar:
        tar.extractall(tmp_path, filter="fully_trusted")
    folder = tmp_path / "nasty-dev"
    rows = {
        bytes.fromhex(row["path_hex"]) if row["path_hex"] else os.fsencode(row["path"]): row["accepts"].split("|")
        for row in csv.DictReader((folder / "manifest.csv").open(newline="", encoding="utf-8"))
    }
    sources = {os.path.relpath(path_of(s.uri), bytes(folder)): s for s in found(folder)}
    wanted = {name for name, accepts in rows.items() if accepts != ["none"] and _suffix(name) in SUFFIXES}
    assert set(sources) == wanted
    assert len(wanted) > 40
    for name, source in sources.items():
        if source.status != "ok":
            assert {source.status, f"{source.status}:{source.reason}"} & set(rows[name]), (name, source, rows[name])
    assert {s.reason for s in sources.values()} == {None, "symlink_loop", "outside_root", "missing"}


def _suffix(name: bytes) -> str:
    return os.path.splitext(os.fsdecode(name))[1].lower()


def test_what_can_not_be_read_is_a_source_with_its_reason(tmp_path: Path) -> None:
    make(tmp_path, "ok.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop_a.mp4").symlink_to(tmp_path / "loop_b.mp4")
    (tmp_path / "loop_b.mp4").symlink_to(tmp_path / "loop_a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket.mp4"))
    verdicts = {names_of((s,), tmp_path)[0]: (s.status, s.reason) for s in found(tmp_path)}
    assert verdicts == {
        "ok.mp4": ("ok", None),
        "dangling.mp4": ("rejected", "missing"),
        "loop_a.mp4": ("rejected", "symlink_loop"),
        "loop_b.mp4": ("rejected", "symlink_loop"),
        "pipe.mp4": ("rejected", "unreadable"),
        "socket.mp4": ("rejected", "unreadable"),
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


@pytest.fixture
def store(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return S3Store(BUCKET, client_options={"allow_http": True})


KEYS = [
    "plain.mp4", "with space.mp4", "'quotes\".mp4", "🎬 é.mp4", "100%.mp4", "%41.mp4", "UPPER.MP4", "-dash.mp4",
    "a;b&c|d$e`f.mp4", "[glob]*?.mp4", "deep/er/..dots...mkv", "+plus=.mp4", "~#{x}.mp4",
]  # fmt: skip


def test_a_prefix_holds_videos_of_any_name_in_one_order(store: S3Store) -> None:
    for key in [*KEYS, "notes.txt", "noext", "deep/a.mp4.part"]:
        obstore.put(store, f"any/{key}", key.encode())
    obstore.put(store, "anything/else.mp4", b"")
    for place in ("s3://lakes/any", "s3://lakes/any/"):
        sources = found(place)
        assert [s.uri for s in sources] == sorted(object_uri(BUCKET, f"any/{key}") for key in KEYS)
        assert all(s.uri.isascii() and s.uri.isprintable() for s in sources)
        for source in sources:
            bucket, key = object_of(source.uri)
            meta = obstore.head(store, key)
            assert (bucket, source.status, source.size) == (BUCKET, "ok", len(key.removeprefix("any/").encode()))
            assert source.version == meta["e_tag"].strip('"')
    assert {s.label for s in found("s3://lakes/any", labels="folder")} == {"any", "er"}


def test_another_content_of_an_object_is_another_version(store: S3Store) -> None:
    obstore.put(store, "version/a.mp4", b"1")
    (before,) = found("s3://lakes/version")
    obstore.put(store, "version/a.mp4", b"2")
    (after,) = found("s3://lakes/version")
    assert (before.uri, before.size) == (after.uri, after.size)
    assert before.version != after.version != ""


def test_an_object_named_outright_counts_whatever_its_name(store: S3Store) -> None:
    obstore.put(store, "one/film", b"1")
    obstore.put(store, "one/100% film.mp4", b"12")
    assert [(s.uri, s.size) for s in found("s3://lakes/one/film", labels="folder")] == [("s3://lakes/one/film", 1)]
    assert [(s.uri, s.size) for s in found("s3://lakes/one/100% film.mp4")] == [("s3://lakes/one/100%25 film.mp4", 2)]


def test_keys_that_can_not_be_read_are_rows_and_hide_no_other(store: S3Store, s3: dict[str, str]) -> None:
    keys = ["unspeakable/two\nlines.mp4", "unspeakable/x//y.mp4", "unspeakable/d/../e.mp4", "unspeakable/ok.mp4"]
    for key in keys:
        put(s3, key, b"12345")
    sources = {s.uri: s for s in found("s3://lakes/unspeakable")}
    assert set(sources) == {object_uri(BUCKET, key) for key in keys}
    fine = sources.pop("s3://lakes/unspeakable/ok.mp4")
    assert (fine.status, fine.size, len(fine.version)) == ("ok", 5, 32)
    assert {(s.status, s.reason) for s in sources.values()} == {("rejected", "unreadable")}
    assert all("rename" in s.message for s in sources.values())


def test_manifests_in_a_store_and_of_a_store(store: S3Store, tmp_path: Path) -> None:
    for name in ("a.mp4", "sub/b c.mp4", "up.mp4"):
        obstore.put(store, f"listed/{name}", name.encode())
    make(tmp_path, "local.mp4")
    rows = "uri,label\na.mp4,x\n./sub/b c.mp4,y\n../listed/up.mp4,z\ns3://lakes/listed/gone.mp4,\n"
    obstore.put(store, "listed/list.csv", f"{rows}{tmp_path}/local.mp4,here\n".encode())
    there = {s.uri: (s.label, s.status, s.reason, s.size) for s in found("s3://lakes/listed/list.csv", labels="column")}
    assert there == {
        f"{tmp_path}/local.mp4": ("here", "ok", None, 9),
        "s3://lakes/listed/a.mp4": ("x", "ok", None, 5),
        "s3://lakes/listed/gone.mp4": (None, "rejected", "missing", 0),
        "s3://lakes/listed/sub/b c.mp4": ("y", "ok", None, 11),
        "s3://lakes/listed/up.mp4": ("z", "ok", None, 6),
    }
    (tmp_path / "list.csv").write_text("uri\nlocal.mp4\ns3://lakes/listed/sub/b c.mp4\n")
    assert [(s.uri, s.size) for s in found(tmp_path / "list.csv")] == [
        (f"{tmp_path}/local.mp4", 9),
        ("s3://lakes/listed/sub/b c.mp4", 11),
    ]


def test_a_place_in_a_store_that_holds_nothing_is_an_error(store: S3Store) -> None:
    obstore.put(store, "texts/a.txt", b"")
    with pytest.raises(NothingFoundError, match=r"\.mp4"):
        found("s3://lakes/texts")
    for place in ("s3://lakes/nowhere", "s3://lakes/nowhere.mp4", "s3://lakes/nowhere.csv", "s3://lakes/text"):
        with pytest.raises(RecipeError, match="does not exist"):
            found(place)
    with pytest.raises(RecipeError, match="no-such-bucket"):
        found("s3://no-such-bucket/")


def test_a_store_that_is_away_stops_a_listing_and_fails_the_rows_of_a_manifest(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "local.mp4")
    names = "".join(f"s3://lakes/{i}.mp4\n" for i in range(200))
    (tmp_path / "list.csv").write_text(f"uri\nlocal.mp4\n{names}")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
    asked: list[str] = []
    head = objects.head
    monkeypatch.setattr(objects, "head", lambda uri: asked.append(uri) or head(uri))
    with pytest.raises(Unreachable, match=r"corpus\.videos: s3://lakes/any"):
        found("s3://lakes/any/")
    sources = found(tmp_path / "list.csv")
    assert [(s.status, s.reason) for s in sources] == [("ok", None), *[("failed", "unreadable")] * 200]
    assert NUM_ASKED <= len(asked) < 100


def test_other_schemes_are_recipe_errors() -> None:
    for place in ("http://example.org/a.mp4", "gs://bucket/videos"):
        with pytest.raises(RecipeError, match="s3://"):
            found(place)
