"""Found regions become tracks and clips, in one run; what was found once is not looked for again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moving_scenes as scenes
import numpy as np
import pytest
from command_line import Done

from patchlake.tasks import tracks
from patchlake.tasks.lake import arrays, open_lake
from patchlake.tasks.lake import digest as lakes
from patchlake.tasks.lake.schema import paths_of
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.storage.location import Location

Run = Callable[..., Done]
Write = Callable[..., Path]
NUM_FRAMES = 48
LAKE = Path("lake") / "small"
TRACKS = {"boxes": "regions", "min_travel": 0.05}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    for name, mirrored in (("left", False), ("right", True)):
        (folder / name).mkdir()
        film = scenes.film(NUM_FRAMES)
        scenes.write(folder / name / "a.mkv", np.ascontiguousarray(film[:, :, ::-1]) if mirrored else film)
    return folder


def wanted(corpus: Path) -> dict[str, Any]:
    return {
        "corpus": {"videos": str(corpus), "labels": "folder"},
        "frames": {"size": list(scenes.SIZE)},
        "patches": {"size": [8, 32, 32]},
        "features": [{"kind": "regions", "cell": 1}],
    }


def digest(lake: Path) -> str:
    return lakes.digest(Location(str(lake))).total


def figures(tables: Tables) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(max(tables.runs.rows(), key=lambda row: row["started"])["figures"])
    return found


@pytest.mark.timeout(600)
def test_found_regions_become_tracks_and_clips(patchlake: Run, recipe: Write, corpus: Path, tmp_path: Path) -> None:
    path = recipe(**wanted(corpus), tracks=TRACKS)
    done = patchlake("run", str(path))
    assert done.code == 0, done.err
    lake = open_lake(tmp_path / LAKE)
    tables = Tables(lake.location)
    videos = {row["video_id"]: row["label"] for row in tables.sources.rows()}
    rows = {row["track"]: row for row in tables.tracks.rows()}
    paths = paths_of(rows.values(), tables.track_boxes.rows())
    whole = {row["track"] for row in rows.values() if paths[row["track"]] is None}
    assert len(whole) == 2
    frames = lake.product("pixels").frames
    for video_id, label in videos.items():
        mine = [track for track, row in rows.items() if row["video_id"] == video_id and track not in whole]
        assert len(mine) == len(scenes.BODIES), "what moves, and nothing else"
        seen = set()
        for track in mine:
            path_of = paths[track]
            assert path_of is not None
            start = path_of.boxes[0][0] + path_of.boxes[0][2] / 2, path_of.boxes[0][1] + path_of.boxes[0][3] / 2
            body = min(scenes.BODIES, key=lambda b: np.hypot(*np.subtract(start, centre(b, 0, label))))
            seen.add(body.shape)
            for i in range(NUM_FRAMES):
                x, y, width, height = tracks.box_at(path_of, i / 25)
                expected = centre(body, i, label)
                np.testing.assert_allclose((x + width / 2, y + height / 2), expected, atol=1.5 * scenes.FACTOR)
                assert width < 3.2 * scenes.FACTOR * body.radius
            clips = [row for row in tables.clips.rows() if row["track"] == track]
            assert [row["label"] for row in clips] == [label, label]
            assert clips[0]["row_stop"] - clips[0]["row_start"] == 25
            assert sum(row["row_stop"] - row["row_start"] for row in clips) == NUM_FRAMES
            height, width = scenes.SIZE
            for row in (clips[0]["row_start"], clips[-1]["row_stop"] - 1):
                colour = frames[row, height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8].mean(
                    ("y", "x")
                )
                np.testing.assert_allclose(colour, body.colour, atol=8, err_msg="the crop is centred on the body")
        assert seen == {body.shape for body in scenes.BODIES}
    assert not [row for row in tables.clips.rows() if row["track"] in whole], "clips are of the regions"
    assert {row["track"] for row in tables.regions.rows()} == whole
    assert list(verify(lake.location)) == []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_tracks_are_found_once(patchlake: Run, recipe: Write, corpus: Path, tmp_path: Path) -> None:
    """Not by the next run; again by one whose run before was killed between its passes, and by other rules."""
    path = recipe(**wanted(corpus), tracks=TRACKS)
    assert patchlake("run", str(path)).code == 0
    lake, before = Location(str(tmp_path / LAKE)), digest(tmp_path / LAKE)
    again = patchlake("run", str(path))
    assert "nothing was decoded" in again.out, again.out + again.err
    assert figures(Tables(lake))["probed"] == 0
    assert digest(tmp_path / LAKE) == before

    elsewhere = recipe(**wanted(corpus), tracks=TRACKS, lake=str(tmp_path / "killed"))
    killed = patchlake("run", str(elsewhere), env={"PATCHLAKE_FAULT": "after"})
    assert killed.code == -9, killed.err
    assert Tables(Location(str(tmp_path / "killed" / "small"))).regions.rows() == [], "it ended between the passes"
    assert patchlake("run", str(elsewhere)).code == 0
    assert digest(tmp_path / "killed" / "small") == before

    linked = wanted(corpus) | {"features": [{"kind": "regions", "cell": 1, "overlap": 1.0}]}
    other = patchlake("run", str(recipe(**linked, tracks={"boxes": "regions", "min_seconds": 0.1, "most": 1})))
    assert other.code == 0, other.err
    assert {row["region_id"] == row["region_track"] for row in Tables(lake).regions.rows()} == {True, False}
    decoded = figures(Tables(lake))["ingest"]["rows"]
    assert decoded < NUM_FRAMES, "whole frames are not decoded again, though nothing that moves is linked now"


def centre(body: scenes.Body, i: int, label: str) -> tuple[float, float]:
    """Return x, y in source pixels; of the film under `right` the mirror image."""
    y, x = body.centre(i)
    return (scenes.SIZE[1] - x if label == "right" else x) * scenes.FACTOR, y * scenes.FACTOR


@pytest.mark.long
@pytest.mark.timeout(600)
def test_added_later_is_the_same_as_from_the_start(patchlake: Run, recipe: Write, corpus: Path, tmp_path: Path) -> None:
    full = wanted(corpus) | {"features": ["regions"]}
    assert patchlake("run", str(recipe(**full, lake=str(tmp_path / "whole")))).code == 0
    path = recipe(**full | {"features": []})
    assert patchlake("run", str(path)).code == 0
    done = patchlake("features", str(path), "--add", "regions")
    assert done.code == 0, done.err
    tables = Tables(Location(str(tmp_path / LAKE)))
    assert len(tables.regions.rows()) >= 2 * len(scenes.BODIES) * NUM_FRAMES // 8
    assert digest(tmp_path / LAKE) == digest(tmp_path / "whole" / "small")

    done = patchlake("features", str(path), "--drop", "regions")
    assert done.code == 0, done.err
    tables = Tables(Location(str(tmp_path / LAKE)))
    assert tables.regions.rows() == []
    assert arrays.product_names(Location(str(tmp_path / LAKE))) == ["pixels"]
