"""A run that ends between two commits, wherever that is: the next run makes the lake of a run that did not end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
from in_process import Ingested, ingest

from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.digest import digest
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.storage.location import Location

RECIPE: dict[str, Any] = {"corpus": {"videos": "videos"}, "tracks": {"boxes": "boxes.csv"}}
BOXES = """uri,track,seconds,x,y,width,height
a.mkv,moving,0.0,0,0,32,24
a.mkv,moving,0.5,20,10,32,24
a.mkv,fixed,,8,8,32,24
b.mkv,moving,0.0,4,4,32,24
b.mkv,moving,0.4,10,20,32,24
"""


class Ended(Exception):
    """The run ends here."""


def ending_before(commit: int) -> Callable[[], None]:
    """Return a guard that ends a run before its n-th commit to a table, from 0 on."""
    left = [commit]

    def guard() -> None:
        if not left[0]:
            raise Ended
        left[0] -= 1

    return guard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name, num_frames in {"a": 20, "b": 12}.items():
        clips.render(tmp_path / f"videos/{name}.mkv", num_frames=num_frames, gop=8)
    (tmp_path / "boxes.csv").write_text(BOXES)
    return tmp_path


def seen(done: Ingested) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a lake's tables, without the seconds that units took."""
    spent = {f"{name}_seconds" for name in ("decode", "compute", "write", "wait")}
    rows = {
        table.name: [{k: v for k, v in row.items() if k not in spent} for row in table.rows()] for table in done.tables
    }
    return {name: sorted(found, key=str) for name, found in rows.items()}


@pytest.mark.timeout(300)
def test_a_run_that_ends_before_any_commit_is_made_good_by_the_next(folder: Path) -> None:
    unbroken = ingest(folder, {**RECIPE, "name": "unbroken"})
    expected, rows = digest(unbroken.lake), seen(unbroken)
    assert len(rows["track_boxes"]) == 4
    for commit in range(100):
        recipe = {**RECIPE, "name": f"ended{commit}"}
        try:
            ingest(folder, recipe, guard=ending_before(commit))
        except Ended:
            done = ingest(folder, recipe)
            assert digest(done.lake) == expected, f"ended before commit {commit}"
            assert seen(done) == rows, f"ended before commit {commit}"
            assert not list(verify(done.lake))
        else:
            break
    assert commit > 6


def without(done: Ingested, table: str, kept: Callable[[dict[str, Any]], bool]) -> None:
    """Remove rows of a table, as if a run of an older version had been killed before it wrote them."""
    found = next(one for one in done.tables if one.name == table)
    found.overwrite([row for row in found.rows() if kept(row)])


def test_a_source_whose_video_is_unknown_is_probed_again(folder: Path) -> None:
    unbroken = ingest(folder, RECIPE)
    rows = seen(unbroken)
    without(unbroken, "videos", lambda row: False)
    assert seen(ingest(folder, RECIPE)) == rows


def test_a_track_whose_boxes_are_missing_gets_them_again(folder: Path) -> None:
    unbroken = ingest(folder, RECIPE)
    rows = seen(unbroken)
    moving = {row["track"] for row in rows["track_boxes"]}
    without(unbroken, "track_boxes", lambda row: row["track"] != min(moving))
    assert seen(unbroken) != rows
    assert seen(ingest(folder, RECIPE)) == rows


def test_boxes_of_a_run_that_wrote_no_tracks_do_not_join_other_tracks(folder: Path) -> None:
    with pytest.raises(Ended):
        ingest(folder, RECIPE, guard=ending_before(3))
    tables = Tables(Location(str(folder / "lake/x")))
    assert len(tables.track_boxes.rows()) == 4
    assert not tables.tracks.rows()
    (folder / "videos/a.mkv").unlink()
    (folder / "boxes.csv").write_text("".join(line for line in BOXES.splitlines(True) if not line.startswith("a.mkv")))
    alone = ingest(folder, {**RECIPE, "name": "alone"})
    assert seen(ingest(folder, RECIPE))["track_boxes"] == seen(alone)["track_boxes"]


def rows_without_receipts(done: Ingested) -> dict[str, set[int]]:
    """Return product -> its rows that have a track, a time or a shown time, but no receipt. `pixels` has the index."""
    committed: dict[str, set[int]] = {}
    for row in done.tables.receipts.rows():
        for start, num_rows in zip(row["row_starts"], row["num_rows"], strict=True):
            committed.setdefault(row["product"], set()).update(range(start, start + num_rows))
    found = {}
    for product in arrays.product_names(done.lake):
        there = done.array(f"{product}/track") >= 0
        there |= ~np.isnan(done.array(f"{product}/seconds"))
        found[product] = set(np.flatnonzero(there).tolist()) - committed[product]
    return found


@pytest.mark.parametrize("gone", [["b"], ["a"], ["a", "b"]])
def test_rows_of_an_ended_run_do_not_outlive_it(folder: Path, gone: list[str]) -> None:
    recipe = {"corpus": {"videos": "videos"}, "features": ["edges"]}

    def guard() -> None:
        if len(Tables(Location(str(folder / "lake/x"))).clips.rows()) == 2:
            raise Ended  # what comes next are the receipts

    with pytest.raises(Ended):
        ingest(folder, recipe, guard=guard)
    track = np.asarray(arrays.open_array(Location(str(folder / "lake/x")), "edges/track")[:])
    assert (track >= 0).sum() == 3
    for name in gone:
        (folder / f"videos/{name}.mkv").unlink()
    clips.render(folder / "videos/c.mkv", num_frames=9, gop=8)
    done = ingest(folder, recipe)
    assert rows_without_receipts(done) == {"edges": set(), "pixels": set()}
