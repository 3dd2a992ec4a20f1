"""Every kind of bad file beside good ones, in one run: each gets its verdict, and the good ones do not notice."""

from __future__ import annotations

import csv
import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damaged_files as mutations
import numbered_clips as clips
import numpy as np
import pytest
import yaml
from command_line import Done
from in_process import ingest
from process_watch import Watch

from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.plan.verdicts import verdicts
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.uris import path_of
from patchlake.tasks.types import Source

Run = Callable[..., Done]
GOOD = {"a.mp4": 20, "b.mkv": 75, "c.avi": 13, "d.ts": 40, "e.mp4": 150}
"""Clips of known frames; some share slots with bad ones, one is longer than a slot."""
SLOT_FRAMES = 128
CODECS = {"c.avi": "mpeg4"}


def render_good(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, num_frames in GOOD.items():
        clips.render(folder / name, num_frames=num_frames, codec=CODECS.get(name, "libx264"))


def recipe(*, lake: Path, videos: Path) -> dict[str, Any]:
    return {
        "name": "x",
        "lake": str(lake),
        "corpus": {"videos": str(videos), "labels": "folder"},
        "clips": [{"method": "windows", "seconds": 1.0}],
        "frames": {"size": [48, 64]},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges", "flow"],
        "units": {"slot_frames": SLOT_FRAMES, "slots": 2},
        "limits": {"wall_seconds": 60, "stall_seconds": 10},
        "cluster": {"kind": "local", "workers": 2, "dashboard": False},
    }


def written(path: Path, settings: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def accepted_verdicts(folder: Path) -> dict[bytes, list[str]]:
    """Return what the manifest allows, by the file's name below the folder; nothing where no row is to be."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [bytes.fromhex(row["path_hex"]) if row["path_hex"] else row["path"].encode() for row in rows]
    return {name: row["accepts"].split("|") for name, row in zip(names, rows, strict=True) if row["accepts"] != "none"}


def assert_accepted(rows: dict[bytes, Source], accepted: dict[bytes, list[str]]) -> None:
    """Print name and verdict of each, and see that the manifest allows it: a bare `ok` means: and no reason."""
    assert rows.keys() == accepted.keys()
    wrong = []
    for name, row in sorted(rows.items()):
        verdict = row.status if row.reason is None else f"{row.status}:{row.reason}"
        print(f"{os.fsdecode(name)[:48]!r:50} {verdict:28} {row.message[:90]}")
        if verdict not in accepted[name]:
            wrong.append((name, verdict, row.message, accepted[name]))
    assert not wrong


def assert_good_ones_equal(lake: Location, alone: Location) -> None:
    """See that two lakes hold the same of the videos of the second, and that these had bad neighbours in the first."""
    good = {row["video_id"] for row in Tables(alone).sources.rows()}
    assert len(good) == len(GOOD)
    of_good = contents(alone, good)
    assert len(of_good) == 3 * sum(-(-num_frames // 25) for num_frames in GOOD.values())
    assert contents(lake, good) == of_good
    assert clip_rows(lake, good) == clip_rows(alone, good)
    assert neighbours(lake, good), "some good clip was to share a slot with a bad one"


@pytest.mark.shared_videos
@pytest.mark.timeout(600)
def test_each_bad_file_costs_itself_only(patchlake: Run, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    render_good(corpus / "good")
    with tarfile.open(clips.shared_videos() / "nasty.tar") as tar:
        tar.extractall(corpus, filter="fully_trusted")
    (bad,) = (folder for folder in corpus.iterdir() if folder.name != "good")
    watch = Watch(corpus)
    with watch:
        path = written(tmp_path / "all.yaml", recipe(lake=tmp_path / "all", videos=corpus))
        done = patchlake("run", path, env=watch.env)
    assert done.code == 0, done.err
    assert len(watch.workers) == 2, "a worker was lost"
    assert set(os.listdir(tmp_path)) == {"corpus", "all", "all.yaml"}, "no file name may be run as a command"

    lake = Location(str(tmp_path / "all")) / "x"
    sources = [source_of(row) for row in Tables(lake).sources.rows()]
    rows = {os.path.relpath(path_of(source.uri), bytes(bad)): source for source in sources}
    assert len(rows) == len(sources)
    assert_accepted(rows, accepted_verdicts(bad) | {f"../good/{name}".encode(): ["ok"] for name in GOOD})
    assert patchlake("verify", str(lake)).code == 0

    path = written(tmp_path / "good.yaml", recipe(lake=tmp_path / "good", videos=corpus / "good"))
    done = patchlake("run", path)
    assert done.code == 0, done.err
    assert_good_ones_equal(lake, Location(str(tmp_path / "good")) / "x")


def source_of(row: dict[str, Any]) -> Source:
    names = ("uri", "size", "version", "status", "reason", "message")
    return Source(**{name: row[name] for name in names})


def test_bad_files_made_here_cost_themselves_only(tmp_path: Path) -> None:
    """The same without the real files and without a cluster."""
    corpus = tmp_path / "corpus"
    render_good(corpus / "good")
    accepted = make_bad(corpus) | {f"good/{name}".encode(): ["ok"] for name in GOOD}
    settings = recipe(lake=tmp_path / "all", videos=corpus)
    done = ingest(tmp_path, settings)
    judged = verdicts(done.dataset, done.survey, done.plan)
    rows = {os.path.relpath(path_of(source.uri), bytes(corpus)): source for source, _ in judged}
    assert_accepted(rows, accepted)
    assert list(verify(done.lake)) == []
    alone = ingest(tmp_path, recipe(lake=tmp_path / "good", videos=corpus / "good"))
    assert_good_ones_equal(done.lake, alone.lake)


def make_bad(folder: Path) -> dict[bytes, list[str]]:
    """Write bad files, and return what is to be said of each."""
    whole = {name: (folder / "good" / name).read_bytes() for name in GOOD}
    small, large = (
        clips.render(folder / f"{height}.h264", num_frames=20, size=(height, 96)).read_bytes() for height in (64, 96)
    )
    for height in (64, 96):
        (folder / f"{height}.h264").unlink()
    broken = bytearray(whole["c.avi"])
    for part in [part for part in mutations.parts(whole["c.avi"]) if part.name == "00dc"][3:6]:
        broken[part.body : part.stop] = bytes(part.stop - part.body)
    made: dict[bytes, tuple[bytes, str]] = {
        b"empty.mp4": (b"", "rejected:empty"),
        b"notes.mp4": (b"these are notes\n" * 50, "rejected:not_video"),
        b"no_moov.mp4": (whole["e.mp4"][: len(whole["e.mp4"]) // 2], "rejected:unreadable"),
        b"half.mkv": (whole["b.mkv"][: len(whole["b.mkv"]) // 2], "partial:truncated"),
        b"two sizes.h264": (small + large, "partial:resolution_change"),
        b"hole.avi": (bytes(broken), "partial:corrupt"),
        b"new\nline \xff.mp4": (whole["a.mp4"], "duplicate"),
    }
    for name, (data, _) in made.items():
        Path(os.fsdecode(os.path.join(bytes(folder), name))).write_bytes(data)
    (folder / "dangling.mp4").symlink_to("gone.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "outside.mp4").symlink_to("/etc/hostname")
    links = {b"dangling.mp4": "missing", b"loop.mp4": "symlink_loop", b"outside.mp4": "outside_root"}
    accepted = {name: f"rejected:{reason}" for name, reason in links.items()}
    accepted |= {name: verdicts for name, (_, verdicts) in made.items()}
    return {name: verdicts.split("|") for name, verdicts in accepted.items()}


def contents(lake: Location, videos: set[str]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return hashes of values and coordinates by (clip, product), each row of a product's array read by position."""
    found = {}
    for product in arrays.product_names(lake):
        array = "frames" if product == "pixels" else "features"
        values = np.asarray(arrays.open_array(lake, f"{product}/{array}")[:])
        seconds = np.asarray(arrays.open_array(lake, f"{product}/seconds")[:])
        track = np.asarray(arrays.open_array(lake, f"{product}/track")[:])
        for row in Tables(lake).clips.rows():
            if row["video_id"] in videos:
                inside = (track == row["track"]) & (seconds >= row["start_seconds"]) & (seconds < row["stop_seconds"])
                assert inside.any() or product != "pixels"
                parts = values[inside], seconds[inside]
                hashes = [hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in parts]
                found[row["clip_id"], product] = (*values[inside].shape, *hashes)
    return found


def clip_rows(lake: Location, videos: set[str]) -> list[dict[str, Any]]:
    """Return the clips of videos without what depends on what else is in the lake: numbers of rows and tracks."""
    free = {"row_start", "row_stop", "track"}
    rows = [
        {name: value for name, value in row.items() if name not in free} | {"rows": row["row_stop"] - row["row_start"]}
        for row in Tables(lake).clips.rows()
        if row["video_id"] in videos
    ]
    return sorted(rows, key=lambda row: str(row["clip_id"]))


def neighbours(lake: Location, videos: set[str]) -> set[int]:
    """Return the slots in which these videos lie beside ones whose frames are damaged or missing."""
    bad = {row["video_id"] for row in Tables(lake).failures.rows()}
    slots: dict[str, set[int]] = {}
    for row in Tables(lake).spans.rows(["video_id", "row_start", "num_rows"]):
        used = range(row["row_start"] // SLOT_FRAMES, (row["row_start"] + row["num_rows"] - 1) // SLOT_FRAMES + 1)
        slots.setdefault(row["video_id"], set()).update(used)
    return {n for v in videos for n in slots[v]} & {n for v in bad - videos for n in slots.get(v, ())}
