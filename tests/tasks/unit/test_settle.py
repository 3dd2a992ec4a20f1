"""Settling: clips and verdicts after the units. Labels and ranges are edits of tables; no array is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from in_process import Ingested, ingest, open_dataset, run_units, survey_of
from tiny_lakes import TINY, name_of, videos_in

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.unit.record import record
from patchlake.tasks.unit.settle import settle

RANGES = {
    "a": [(0.0, 0.8, 0, 20), (0.8, 1.6, 20, 40)],
    "b": [(0.0, 0.8, 40, 60), (0.8, 0.96, 60, 64)],
    "c": [(0.0, 0.8, 64, 84), (0.8, 1.2, 84, 94)],
}
"""Seconds and rows of each clip, at 25 frames a second from where its video lies."""
TABLES = ("videos", "tracks", "track_boxes", "spans", "clips", "regions", "annotations", "receipts", "failures")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest(videos_in(tmp_path_factory.mktemp("tiny")), TINY)


@pytest.fixture
def folder(once: Ingested, tmp_path: Path) -> Path:
    """A copy of the lake and its videos."""
    shutil.copytree(Path(once.dataset.recipe.lake).parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rows_of(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    return {name: getattr(tables, name).rows() for name in TABLES}


def arrays_of(folder: Path) -> dict[str, int]:
    """Return when each file of the arrays was written; metadata, which each run publishes anew, is left out."""
    files = (path for path in (folder / "lake").rglob("arrays.zarr/**/*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files if path.name != "zarr.json"}


def clips_by_name(done: Ingested) -> dict[str, list[tuple[Any, ...]]]:
    names = {row["video_id"]: name_of(row["uri"]) for row in done.tables.sources.rows()}
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in done.tables.clips.rows():
        place = (row["start_seconds"], row["stop_seconds"], row["row_start"], row["row_stop"])
        found.setdefault(names[row["video_id"]], []).append(place)
    return found


def test_each_clip_names_its_rows_in_time_order(once: Ingested) -> None:
    assert clips_by_name(once) == RANGES


def test_twice_gives_the_same_tables(folder: Path) -> None:
    before, files = rows_of(open_dataset(folder, TINY).tables), arrays_of(folder)
    again = ingest(folder, TINY)
    assert again.plan.all_units == ()
    assert rows_of(again.tables) == before
    assert len(files) > 5
    assert arrays_of(folder) == files


def test_other_labels_change_the_label_of_clips_and_nothing_else(folder: Path) -> None:
    before, files = rows_of(open_dataset(folder, TINY).tables), arrays_of(folder)
    os.rename(folder / "videos" / "right", folder / "videos" / "upper")
    again = ingest(folder, TINY)
    assert again.plan.all_units == ()
    after = rows_of(again.tables)
    assert [row["label"] for row in after["clips"]] == ["left"] * 4 + ["upper"] * 2
    relabelled = [{**row, "label": {"right": "upper"}.get(row["label"], row["label"])} for row in before["clips"]]
    assert after == {**before, "clips": relabelled}
    assert arrays_of(folder) == files


def test_clips_of_a_method_that_is_gone_disappear_and_rows_stay(folder: Path) -> None:
    both = {**TINY, "clips": [{"seconds": 0.8}, {"seconds": 0.4}]}
    files = arrays_of(folder)
    more = ingest(folder, both)
    assert [clip[:2] for clip in clips_by_name(more)["c"]] == [(0.0, 0.4), (0.0, 0.8), (0.4, 0.8), (0.8, 1.2)]
    assert more.plan.all_units == (), "the same frames: their union is what is stored"
    ingest(folder, {**TINY, "clips": [{"seconds": 0.4}]})
    one = ingest(folder, TINY)
    assert clips_by_name(one) == RANGES
    assert arrays_of(folder) == files


def test_the_clips_of_a_video_that_is_gone_go_with_it_and_come_back(folder: Path) -> None:
    video, kept = folder / "videos" / "left" / "b.mp4", folder / "b.mp4"
    os.rename(video, kept)
    gone = ingest(folder, TINY)
    assert set(clips_by_name(gone)) == {"a", "c"}
    os.rename(kept, video)
    back = ingest(folder, TINY)
    assert (clips_by_name(back), back.plan.all_units) == (RANGES, ())


def test_a_span_that_is_not_committed_has_no_clips_yet(tmp_path: Path) -> None:
    dataset = open_dataset(videos_in(tmp_path), TINY)
    found = survey_of(dataset)
    plan = make_plan(dataset, found, Workers(total=1))
    record(dataset, found, plan)
    early = settle(dataset, found, plan)
    assert early.num_clips == len(dataset.tables.clips.rows()) == 0
    assert {source.status for source, _ in early.judged} == {"skipped"}
    run_units(dataset, found, plan)
    settled = settle(dataset, found, plan)
    assert settled.num_clips == len(dataset.tables.clips.rows()) == 6
    assert {source.status for source, _ in settled.judged} == {"ok"}
