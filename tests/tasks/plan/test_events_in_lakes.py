"""Every event of a file is a clip of the lake, or counted with a reason."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import in_process
import numbered_clips as clips
import pytest

FPS = 25


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    clips.render(folder / "a.mp4", num_frames=50, fps=Fraction(FPS), size=(48, 64))
    clips.render(folder / "b.mp4", num_frames=25, fps=Fraction(FPS), size=(48, 64))
    return folder


def ingest(videos: Path, folder: Path, text: str, **options: Any) -> in_process.Ingested:
    (folder / "events.csv").write_text(text)
    events = {"method": "events", "file": str(folder / "events.csv"), **options}
    return in_process.ingest(folder, {"corpus": {"videos": str(videos)}, "clips": [events]})


def found(ingested: in_process.Ingested) -> list[tuple[float, float, str | None, int]]:
    rows = ingested.tables.clips.rows()
    return sorted((r["start_seconds"], r["stop_seconds"], r["label"], r["row_stop"] - r["row_start"]) for r in rows)


def test_frames_of_an_event_are_its_rows(videos: Path, tmp_path: Path) -> None:
    lake = ingest(videos, tmp_path, "video,start_frame,end_frame,label\na.mp4,5,14,run\nb.mp4,0,24,jump\n")
    assert found(lake) == [(0.0, 1.0, "jump", 25), (5 / FPS, 15 / FPS, "run", 10)]
    assert lake.survey.left_out == {}


def test_several_labels_of_one_range_are_a_clip_each(videos: Path, tmp_path: Path) -> None:
    text = "video,start,stop,label\na.mp4,0,1,run\na.mp4,0,1,talk\na.mp4,0,1,run\nb.mp4,0,1,run\n"
    lake = ingest(videos, tmp_path, text)
    assert found(lake) == [(0.0, 1.0, "run", 25), (0.0, 1.0, "run", 25), (0.0, 1.0, "talk", 25)]
    ids = [row["clip_id"] for row in lake.tables.clips.rows()]
    assert len(set(ids)) == 3
    again = ingest(videos, tmp_path, text)
    assert again.results == ()
    assert [row["clip_id"] for row in again.tables.clips.rows()] == ids


POINTS = (
    "video,start,stop,label\na.mp4,0.2,0.2,bite\na.mp4,1.6,1.6,bite\na.mp4,7,8,late\nzzz.mp4,0,1,x\nb.mp4,0,0.4,run\n"
)


def test_events_that_give_no_clip_are_counted_with_their_reason(videos: Path, tmp_path: Path) -> None:
    lake = ingest(videos, tmp_path, POINTS)
    assert found(lake) == [(0.0, 0.4, "run", 10)]
    file = str(tmp_path / "events.csv")
    assert lake.survey.left_out == {
        file: {"lasts no time: give `around` seconds to the method events": 2, "past the end of its video": 1}
    }
    assert lake.survey.unmatched == {file: 1}
    rows = POINTS.count("\n") - 1
    assert len(found(lake)) + sum(lake.survey.left_out[file].values()) + lake.survey.unmatched[file] == rows


def test_time_around_points_makes_clips_of_them_that_stay_in_the_video(videos: Path, tmp_path: Path) -> None:
    lake = ingest(videos, tmp_path, POINTS, around=0.5)
    assert [(a, round(b, 6), label) for a, b, label, _ in found(lake)] == [
        (0.0, 0.4, "run"), (0.0, 0.7, "bite"), (1.1, 2.0, "bite"),
    ]  # fmt: skip
    assert list(lake.survey.left_out.values()) == [{"past the end of its video": 1}]
