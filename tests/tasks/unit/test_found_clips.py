"""Clips found in stored scores: equal to ranges cut by hand from what the video shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from in_process import Ingested, ingest, open_dataset

from patchlake.tasks.clips.method import Part
from patchlake.tasks.types import Clip
from patchlake.tasks.unit.found_clips import add_found_clips, find

NUM_FRAMES, BRIGHT = 64, range(16, 40)
"""Frames, 25 a second, and those of them that are bright."""
RECIPE: dict[str, Any] = {
    "corpus": {"videos": "videos", "labels": "folder"},
    "frames": {"size": [32, 32]},
    "patches": {"size": [8, 16, 16]},
    "features": ["color"],
    "units": {"slot_frames": 32, "slots": 1},
}
FOUND = (19.5 / 25, 43.5 / 25)
"""Windows of 8 frames: bright are those that start at frames 16, 24 and 32; a row holds from its centre to the next."""


def render(path: Path) -> None:
    """Write a grey video: 200 in the bright frames, 50 in the others."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "4", "preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(NUM_FRAMES):
            value = 200 if i in BRIGHT else 50
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), value, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def method(**changes: Any) -> dict[str, Any]:
    """Return the method that looks for bright rows."""
    known = {"method": "scores", "product": "color", "channel": "red", "find": "threshold", "above": 100.0}
    return {**known, **changes}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("bright")
    (folder / "videos").mkdir()
    render(folder / "videos" / "a.mp4")
    return ingest(folder, {**RECIPE, "clips": [method()]})


def parts(done: Ingested, *searched: Part, **changes: Any) -> list[Part]:
    """Return what a method finds in parts of the video."""
    (placement,) = done.plan.placements
    (entry,) = open_dataset(
        Path(done.dataset.recipe.lake).parent, {**RECIPE, "clips": [method(**changes)]}
    ).recipe.clips
    return find(done.lake, done.dataset.products["color"], placement, entry, searched)


def test_a_found_clip_is_the_one_cut_by_hand(done: Ingested) -> None:
    folder = Path(done.dataset.recipe.lake).parent
    (clip,) = done.tables.clips.rows()
    assert (clip["start_seconds"], clip["stop_seconds"]) == pytest.approx(FOUND)
    assert (clip["row_start"], clip["row_stop"], clip["label"]) == (20, 44, "videos"), "frames shown in that time"

    (folder / "events.csv").write_text("uri,start,stop\na.mp4,0,2.56\na.mp4,0.78,1.74\n")
    again = ingest(folder, {**RECIPE, "clips": [{"method": "events", "file": "events.csv"}]})
    assert again.plan.all_units == ()
    _, by_hand = again.tables.clips.rows()
    assert by_hand == clip


@pytest.mark.parametrize(
    ("changes", "ranges"),
    [
        ({}, [FOUND]),
        ({"above": 250.0}, []),
        ({"above": None, "below": 100.0}, [(3.5 / 25, FOUND[0]), (FOUND[1], 64 / 25)]),
        ({"min_seconds": 1.0}, []),
        ({"above": 0.0}, [(3.5 / 25, 64 / 25)]),
    ],
    ids=["bright", "too bright", "dark", "too short", "all"],
)
def test_another_threshold_finds_other_ranges_in_the_same_rows(
    done: Ingested, changes: dict[str, Any], ranges: list[tuple[float, float]]
) -> None:
    found = parts(done, Part(0.0, 64 / 25, "walk"), **changes)
    assert [x for part in found for x in part[:2]] == pytest.approx([x for pair in ranges for x in pair])
    assert {part.label for part in found} <= {"walk"}


def test_a_part_is_searched_for_itself(done: Ingested) -> None:
    targets = (("speed", 2.0),)
    halves = Part(0.0, 1.0, "one", targets), Part(1.0, 64 / 25, "two")
    first, second = parts(done, *halves)
    assert first == Part(pytest.approx(FOUND[0]), 1.0, "one", targets)
    assert second == Part(pytest.approx(27.5 / 25), pytest.approx(FOUND[1]), "two")
    assert parts(done, Part(0.0, 0.1)) == [], "no row's centre lies in it"
    assert [part.label for part in parts(done, *halves, label="bright")] == ["bright", "bright"]


def test_what_two_methods_find_is_one_clip(done: Ingested) -> None:
    dataset = open_dataset(Path(done.dataset.recipe.lake).parent, {**RECIPE, "clips": [method(), method(above=110.0)]})
    (placement,) = done.plan.placements
    clips: dict[str, list[Clip]] = {placement.span.span_key: []}
    add_found_clips(dataset, done.survey, done.plan.placements, clips)
    assert len(clips[placement.span.span_key]) == 1
    add_found_clips(dataset, done.survey, done.plan.placements, clips)
    assert len(clips[placement.span.span_key]) == 1, "known ones are not found again"
    untouched: dict[str, list[Clip]] = {placement.span.span_key: []}
    add_found_clips(dataset, done.survey, [], untouched)
    assert untouched == {placement.span.span_key: []}, "only committed spans have rows to search"
