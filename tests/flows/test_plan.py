"""`patchlake plan`: the figures of a run before it, and what differs from the lake; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
from command_line import Done

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

Run = Callable[..., Done]
Write = Callable[..., Path]


def planned(run: Run, recipe: Path, *more: str) -> dict[str, Any]:
    done = run("plan", str(recipe), "--json", *more)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def product(plan: dict[str, Any], name: str) -> dict[str, Any]:
    return next(p for p in plan["products"] if p["name"] == name)


def test_a_plan_says_what_the_run_then_does(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    before = planned(patchlake, recipe(frames={"size": [48, 48]}))
    assert not (tmp_path / "lake").exists(), "a plan writes nothing"
    assert before["sources"] == {"ok": 5, "rejected": 1}
    assert before["reasons"] == {"not_video": 1}
    assert (before["spans_new"], before["spans_reused"], before["rows"]) == (5, 0, 218)
    assert before["slots"] == 8  # 110 in 4 of 32, whose last has room for 17; 40 in 2; 20 and 31 in one each
    assert before["padding"] == 1 - 218 / (8 * 32)
    assert before["video_hours"] * 3600 == 218 / 25
    assert before["area_lost"] == 0.25, "of 128 x 96, 96 x 96 is seen"
    assert product(before, "pixels")["bytes_raw"] == 8 * 32 * 48 * 48 * 3
    assert before["work_hours"] is None

    assert patchlake("run", str(recipe(frames={"size": [48, 48]}))).code == 0
    tables = Tables(Location(str(tmp_path / "lake" / "small")))
    rows = {row["span_key"]: row["num_rows"] for row in tables.spans.rows()}
    assert sum(rows.values()) == before["rows"]
    slots = {slot for row in tables.receipts.rows() for slot in row["slots"]}
    assert len(slots) == before["slots"]

    after = planned(patchlake, recipe(frames={"size": [48, 48]}))
    assert (after["rows"], after["spans_new"], after["spans_reused"]) == (0, 0, 5)
    assert after["differences"] == []
    assert after["work_hours"] == 0.0

    changed = recipe(
        frames={"size": [48, 48]}, features=[{"kind": "edges", "canny": [50, 150]}, "flow"],
        clips=[{"method": "windows", "seconds": 0.4, "stride_seconds": 0.8}],
    )  # fmt: skip
    done = patchlake("plan", str(changed), "--diff")
    assert done.code == 0, done.err
    text = " ".join(done.out.split())
    assert "edges: " in text
    assert "redone from stored pixels, as options.canny [100.0, 200.0] -> [50.0, 150.0]" in text
    assert "to decode: other times of known tracks (clips)" in text


@pytest.mark.long
def test_a_plan_names_new_sources_and_constants_that_do_not_fit(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    clips.render(videos / "a.mp4", num_frames=20)
    wanted = {"corpus": {"videos": str(videos)}, "features": []}
    assert patchlake("run", str(recipe(**wanted))).code == 0
    clips.render(videos / "b.mp4", num_frames=30, start=7)
    found = planned(patchlake, recipe(**wanted))
    assert found["differences"] == [
        "sources: 1 new", "spans: 1 to decode: new videos", "pixels: 1 slots new, 1 as they are",
    ]  # fmt: skip
    assert found["rows"] == 30
    assert product(found, "pixels")["bytes_expected"] > 0
    assert found["work_hours"] > 0
    done = patchlake("plan", str(recipe(**wanted, frames={"size": [24, 24]})))
    assert done.code == 1
    assert "made with frames" in done.err
