"""Recording: what a plan decides is in the tables before any work, and a re-run goes on from there."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import ingest, open_dataset, run_units, survey_of
from tiny_lakes import LENGTHS, ROW_STARTS, TINY, name_of, videos_in

from patchlake.tasks.lake import arrays
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.unit.record import make_room, record, record_sources

ONE = Workers(total=1)
BOXES = "uri,x,y,width,height,track\na.mp4,0,0,16,16,corner\na.mp4,16,8,16,16,side\nb.mp4,8,8,16,16,middle\n"


def planned(folder: Path, **changes: object) -> tuple[Dataset, Survey, Plan]:
    dataset = open_dataset(folder, {**TINY, **changes})
    found = survey_of(dataset)
    return dataset, found, make_plan(dataset, found, ONE)


def test_a_recorded_plan_is_in_the_tables_and_has_room_but_no_rows_exist(tmp_path: Path) -> None:
    dataset, found, plan = planned(videos_in(tmp_path))
    judged = record(dataset, found, plan)
    tables = dataset.tables
    names = {video_id: name_of(source.uri) for source, video_id in judged}
    assert {names[row["video_id"]]: row["row_start"] for row in tables.spans.rows()} == ROW_STARTS
    lengths = {Path(name).stem: length for name, length in LENGTHS.items()}
    assert {names[row["video_id"]]: row["num_rows"] for row in tables.spans.rows()} == lengths
    assert {names[row["video_id"]]: row["num_frames"] for row in tables.videos.rows()} == lengths
    assert [row["track"] for row in tables.tracks.rows()] == [0, 1, 2]
    assert {row["status"] for row in tables.sources.rows()} == {"skipped"}, "not in the lake yet"
    assert arrays.open_array(dataset.lake, "pixels/frames").shape == (96, 32, 32, 3)
    assert arrays.open_array(dataset.lake, "edges/features").shape[0] == 96 / 8
    assert tables.receipts.rows() == tables.clips.rows() == []


def test_a_run_that_was_killed_after_recording_goes_on_at_the_same_places(tmp_path: Path) -> None:
    dataset, found, plan = planned(videos_in(tmp_path))
    record(dataset, found, plan)
    before = dataset.tables.spans.rows()
    again, found, other = planned(tmp_path)
    assert other.new == ()
    assert (other.placements, other.units) == (plan.placements, plan.units)
    record(again, found, other)
    assert again.tables.spans.rows() == before
    assert len(again.tables.videos.rows()) == len(again.tables.tracks.rows()) == 3


def test_boxes_and_the_way_back_to_source_pixels_stand_with_their_track(tmp_path: Path) -> None:
    videos_in(tmp_path)
    (tmp_path / "boxes.csv").write_text(BOXES)
    dataset, found, plan = planned(tmp_path, tracks={"boxes": "boxes.csv"})
    record(dataset, found, plan)
    tracks = {row["name"]: row for row in dataset.tables.tracks.rows()}
    assert {name: row["box"] for name, row in tracks.items()} == {
        "corner": [0.0, 0.0, 16.0, 16.0], "side": [16.0, 8.0, 16.0, 16.0], "middle": [8.0, 8.0, 16.0, 16.0],
    }  # fmt: skip
    # 16 pixels of the source are 32 of the frame grid: x_source = x / 2 + 16, y_source = y / 2 + 8
    assert tracks["side"]["to_source"] == pytest.approx([0.5, 0.0, 16.0, 0.0, 0.5, 8.0])
    statuses = {name_of(row["uri"]): (row["status"], row["message"]) for row in dataset.tables.sources.rows()}
    assert statuses["c"] == ("skipped", "no box or event of it is asked for")


def test_a_moving_box_has_no_one_way_back_and_its_path_is_a_row_for_each_time(tmp_path: Path) -> None:
    videos_in(tmp_path, {"left/a.mp4": 20})
    text = "uri,x,y,width,height,seconds\na.mp4,0,0,16,16,0.0\na.mp4,16,0,16,16,0.4\n"
    (tmp_path / "boxes.csv").write_text(text)
    dataset, found, plan = planned(tmp_path, tracks={"boxes": "boxes.csv"})
    record(dataset, found, plan)
    (track,) = dataset.tables.tracks.rows()
    assert (track["box"], track["to_source"]) == (None, None)
    path = [(row["seconds"], row["x"], row["width"]) for row in dataset.tables.track_boxes.rows()]
    assert path == [(0.0, 0.0, 16.0), (0.4, 16.0, 16.0)]


def test_sources_are_what_the_corpus_is_now(tmp_path: Path) -> None:
    one = ingest(videos_in(tmp_path), TINY)
    (tmp_path / "videos" / "left" / "a.mp4").unlink()
    dataset, found, plan = planned(tmp_path)
    record_sources(dataset, found, plan)
    assert {name_of(row["uri"]) for row in dataset.tables.sources.rows()} == {"b", "c"}
    assert dataset.tables.videos.rows() == one.tables.videos.rows(), "what was seen stays"


def test_what_a_manifest_says_of_parts_of_a_source_is_a_row_each(tmp_path: Path) -> None:
    videos_in(tmp_path)
    text = "uri,start,stop,label\nvideos/left/a.mp4,0.0,0.4,one\nvideos/left/a.mp4,0.8,1.2,two\n"
    (tmp_path / "videos.csv").write_text(text)
    manifest = {"corpus": {"videos": "videos.csv", "labels": "column"}, "clips": [{"method": "events"}]}
    dataset, found, plan = planned(tmp_path, **manifest)
    record(dataset, found, plan)
    rows = [(row["start_seconds"], row["stop_seconds"], row["label"]) for row in dataset.tables.annotations.rows()]
    assert rows == [(0.0, 0.4, "one"), (0.8, 1.2, "two")]
    spans = [(row["start_seconds"], row["stop_seconds"], row["num_rows"]) for row in dataset.tables.spans.rows()]
    assert sorted(spans) == [(0.0, 0.4, 10), (0.8, 1.2, 10)], "only what clips cover is stored"


def test_failures_of_places_that_spans_left_are_forgotten(tmp_path: Path) -> None:
    one = ingest(videos_in(tmp_path), TINY)
    placement = next(p for p in one.plan.placements if p.row_start == ROW_STARTS["b"])
    here = {
        "span_key": placement.span.span_key, "video_id": placement.span.video_id, "row_start": 40, "num_rows": 20,
        "num_rows_planned": 24, "reason": "corrupt", "message": "why", "surplus": b"",
    }  # fmt: skip
    others = [{**here, "row_start": 64}, {**here, "span_key": "of another recipe"}]
    one.tables.failures.append([here, *others])
    dataset, found, plan = planned(tmp_path)
    record(dataset, found, plan)
    assert dataset.tables.failures.rows() == [here]


def test_room_is_never_taken_away(tmp_path: Path) -> None:
    ingest(videos_in(tmp_path), TINY)
    (tmp_path / "videos" / "right" / "c.mp4").unlink()
    dataset, found, plan = planned(tmp_path, features=["edges", "color"])
    make_room(dataset, plan)
    assert arrays.open_array(dataset.lake, "pixels/frames").shape[0] == 96
    assert arrays.open_array(dataset.lake, "color/features").shape[0] == 96 / 8
    assert run_units(dataset, found, plan) != ()
