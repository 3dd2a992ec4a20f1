"""Clips by shots, scores and events: found in what is stored, so that a new threshold decodes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import Done

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

Run = Callable[..., Done]
Write = Callable[..., Path]
CUTS = (40, 75)
"""Frames at which the picture is another."""


def render(path: Path, num_frames: int = 120) -> Path:
    """Write a clip of three scenes of different colours; in the second one a bright square moves."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "10", "preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i in range(num_frames):
            picture = np.zeros((96, 128, 3), np.uint8)
            scene = sum(i >= cut for cut in CUTS)
            picture[:] = ((200, 30, 30), (30, 30, 200), (30, 200, 30))[scene]
            if scene == 1:
                picture[30:60, 2 * (i - 40) : 2 * (i - 40) + 30] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def clips_of(lake: Path) -> list[tuple[float, float, str | None]]:
    rows = Tables(Location(str(lake))).clips.rows()
    return sorted((row["start_seconds"], row["stop_seconds"], row["label"]) for row in rows)


def figures(lake: Path) -> dict[str, Any]:
    last = max(Tables(Location(str(lake))).runs.rows(), key=lambda row: row["started"])
    found: dict[str, Any] = json.loads(last["figures"])
    return found


def test_shots_and_scores_are_cut_from_what_is_stored(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    videos, lake = tmp_path / "videos", tmp_path / "lake" / "small"
    videos.mkdir()
    render(videos / "scenes.mp4")
    base: dict[str, object] = {"corpus": {"videos": str(videos), "labels": "folder"}, "features": ["flow"]}
    shots = {"method": "shots", "min_seconds": 0.2}
    done = patchlake("run", str(recipe(**base, clips=[shots])))
    assert done.code == 0, done.err
    assert clips_of(lake) == [(0.0, 1.6, "videos"), (1.6, 3.0, "videos"), (3.0, 4.8, "videos")]
    rows = sorted(Tables(Location(str(lake))).clips.rows(), key=lambda row: row["start_seconds"])
    assert [row["row_stop"] - row["row_start"] for row in rows] == [40, 35, 45], "boundaries are exact"
    assert figures(lake)["ingest"]["frames decoded"] > 0

    moving = {
        "method": "scores", "product": "flow", "channel": "speed", "pool": "max", "find": "hysteresis",
        "high": 0.5, "low": 0.05, "min_seconds": 0.2, "label": "moving",
    }  # fmt: skip
    done = patchlake("run", str(recipe(**base, clips=[{**shots, "threshold": 250.0}, moving])))
    assert done.code == 0, done.err
    assert "ingest" not in figures(lake), "nothing is decoded for another threshold"
    whole, *found = clips_of(lake)
    assert whole == (0.0, 4.8, "videos"), "no change is that large"
    [(start, stop, label)] = found
    assert label == "moving"
    assert (start, stop) == (pytest.approx(1.6, abs=0.2), pytest.approx(3.0, abs=0.4)), "to within a row of 8 frames"
    assert patchlake("verify", str(lake)).code == 0


def test_events_of_a_file_and_of_the_manifest_bring_their_labels(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    lake = tmp_path / "lake" / "small"
    render(tmp_path / "a.mp4")
    render(tmp_path / "b.mp4", num_frames=100)
    (tmp_path / "events.csv").write_text("uri,start,stop,label\na.mp4,1.0,2.0,jump\na.mp4,3.5,99,run\nz.mp4,0,1,x\n")
    (tmp_path / "videos.csv").write_text(
        "uri,start,stop,label,box,target_speed\n"
        "a.mp4,0.4,0.8,one,,2.5\na.mp4,2.0,2.4,two,,\nb.mp4,1.0,2.0,three,32 24 64 48,\n"
    )
    wanted = recipe(
        corpus={"videos": "videos.csv", "labels": "column"}, features=[],
        clips=[{"method": "events"}, {"method": "events", "file": "events.csv"}],
    )  # fmt: skip
    done = patchlake("run", str(wanted))
    assert done.code == 0, done.err
    expected = [(0.4, 0.8, "one"), (1.0, 2.0, "jump"), (1.0, 2.0, "three"), (2.0, 2.4, "two"), (3.5, 4.8, "run")]
    assert clips_of(lake) == expected
    tables = Tables(Location(str(lake)))
    rows = {row["label"]: row for row in tables.clips.rows()}
    assert dict(rows["one"]["targets"]) == {"speed": 2.5}
    assert [rows[name]["row_stop"] - rows[name]["row_start"] for name in ("one", "jump", "three")] == [10, 25, 25]
    boxes = {row["track"]: row["box"] for row in tables.tracks.rows()}
    assert boxes[rows["three"]["track"]] == [32.0, 24.0, 64.0, 48.0]
    assert boxes[rows["one"]["track"]] is None
    assert len(tables.annotations.rows()) == 3
    assert len(tables.spans.rows()) == 4, "only what the clips cover is stored; two of them touch"
    assert tables.sources.read(["uri"]).num_rows == 2

    # Other labels, and one event less: table edits, no decoding.
    (tmp_path / "events.csv").write_text("uri,start,stop,label\na.mp4,1.0,2.0,leap\n")
    assert patchlake("run", str(wanted)).code == 0
    assert "ingest" not in figures(lake)
    assert clips_of(lake) == [(0.4, 0.8, "one"), (1.0, 2.0, "leap"), (1.0, 2.0, "three"), (2.0, 2.4, "two")]
