"""Forecasts: a plan as figures, by arithmetic on three videos, and in sentences what differs from the lake."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
from in_process import Ingested, ingest, open_dataset, survey_of
from tiny_lakes import TINY, videos_in

from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.forecast import Forecast, ProductForecast, differences, forecast
from patchlake.tasks.plan.planner import make_plan

PIXEL_SLOT, EDGES_CELLS = 32 * 32 * 32 * 3, 4 * 2 * 2
"""Bytes of a slot of pixels, and cells of a slot of edges: 4 windows of 8 frames, 2 x 2 patches."""


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest(videos_in(tmp_path_factory.mktemp("tiny")), TINY)


@pytest.fixture
def folder(once: Ingested, tmp_path: Path) -> Path:
    """A copy of the lake and its videos: at another place."""
    shutil.copytree(Path(once.dataset.recipe.lake).parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def forecast_of(folder: Path, **changes: Any) -> Forecast:
    dataset = open_dataset(folder, {**TINY, **changes})
    found = survey_of(dataset)
    return forecast(dataset, found, make_plan(dataset, found, Workers(total=1)))


def product(found: Forecast, name: str) -> ProductForecast:
    return next(one for one in found.products if one.name == name)


def test_all_of_a_new_lake_is_to_be_done(once: Ingested) -> None:
    found = forecast_of(Path(once.dataset.recipe.lake).parent, name="new")
    assert (found.sources, found.reasons, found.unmatched) == ({"ok": 3}, {}, {})
    assert (found.tracks, found.clips, found.spans_new, found.spans_reused) == (3, 6, 3, 0)
    assert (found.units, found.slots, found.rows) == (3, 3, 94)
    assert found.padding == pytest.approx(2 / 96)
    assert found.video_hours * 3600 == pytest.approx(94 / 25)
    assert (found.work_hours, found.area_lost, found.area_black, found.differences) == (None, 0.0, 0.0, ())
    pixels, edges = product(found, "pixels"), product(found, "edges")
    assert (pixels.slots_new, pixels.slots_reused, pixels.slots_redone) == (3, 0, 0)
    assert (pixels.bytes_raw, pixels.bytes_expected) == (3 * PIXEL_SLOT, None)
    stored = once.array("edges/features")
    assert edges.bytes_raw == 3 * EDGES_CELLS * stored.shape[-1] * stored.itemsize


def test_of_a_full_lake_nothing_is_to_be_done(once: Ingested) -> None:
    found = forecast_of(Path(once.dataset.recipe.lake).parent)
    assert (found.spans_new, found.spans_reused, found.units, found.rows, found.video_hours) == (0, 3, 0, 0, 0)
    assert found.differences == ()
    pixels = product(found, "pixels")
    assert (pixels.slots_new, pixels.slots_reused, pixels.bytes_raw, pixels.bytes_expected) == (0, 3, 0, 0)
    assert json.loads(json.dumps(found.to_json()))["products"][0]["name"] == "pixels"


def test_a_changed_option_redoes_its_product_from_stored_pixels_and_says_which(once: Ingested) -> None:
    found = forecast_of(Path(once.dataset.recipe.lake).parent, features=[{"kind": "edges", "canny": [50, 150]}])
    edges = product(found, "edges")
    assert (edges.slots_new, edges.slots_redone, edges.slots_reused) == (0, 3, 0)
    assert edges.changes == (("options.canny", [100.0, 200.0], [50.0, 150.0]),)
    assert found.differences == (
        "edges: 3 slots redone from stored pixels, as options.canny [100.0, 200.0] -> [50.0, 150.0]",
    )
    assert (found.video_hours, found.work_hours) == (0.0, None)


def test_new_changed_and_gone_sources_are_counted(folder: Path) -> None:
    ingest(folder, TINY)  # the copy's own uris
    clips.render(folder / "videos" / "left" / "new.mp4", num_frames=12, size=(32, 32), start=900)
    clips.render(folder / "videos" / "left" / "b.mp4", num_frames=20, size=(32, 32), start=800)
    (folder / "videos" / "right" / "c.mp4").unlink()
    found = forecast_of(folder)
    assert found.differences == (
        "sources: 1 new",
        "sources: 1 changed",
        "sources: 1 gone (their rows stay)",
        "spans: 2 to decode: new videos",
        "pixels: 2 slots new, 2 as they are",
        "edges: 2 slots new, 2 as they are",
    )  # 20 rows and 12, of 24 and 16 with their borders, do not fit into one slot of 32
    assert found.rows == 32


def test_other_clips_and_other_boxes_of_known_videos_are_told_apart(folder: Path) -> None:
    ingest(folder, TINY)
    shorter = forecast_of(folder, clips=[{"seconds": 0.4, "stride_seconds": 0.8}])
    assert "spans: 6 to decode: other times of known tracks (clips)" in shorter.differences
    (folder / "boxes.csv").write_text("uri,x,y,width,height\na.mp4,0,0,16,16\n")
    boxed = forecast_of(folder, tracks={"boxes": "boxes.csv"})
    assert "spans: 1 to decode: other boxes of known videos (tracks)" in boxed.differences


def test_time_is_priced_by_the_last_run_and_bytes_by_what_slots_took(folder: Path) -> None:
    dataset = open_dataset(folder, TINY)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    figures = {"ingest": {"frames/s": 50.0, "light frames/s": 100.0, "measured / light": 0.5}}
    row = {"run_id": "1", "started": at, "stopped": at, "version": "0", "recipe": "{}", "figures": json.dumps(figures)}
    dataset.tables.runs.append([row])
    stored = sum(r["num_bytes"] for r in dataset.tables.receipts.rows() if r["product"] == "pixels")
    clips.render(folder / "videos" / "left" / "new.mp4", num_frames=12, size=(32, 32), start=900)
    found = forecast_of(folder)
    assert found.rows == 12
    assert found.work_hours == pytest.approx(12 / 50 / 3600)
    assert product(found, "pixels").bytes_expected == round(stored / 3)


@pytest.mark.parametrize(("fit", "lost", "black"), [("crop", 0.5, 0.0), ("letterbox", 0.0, 0.5), ("stretch", 0.0, 0.0)])
def test_what_a_fit_cuts_off_or_leaves_black_is_a_share(tmp_path: Path, fit: str, lost: float, black: float) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "wide.mp4", num_frames=8, size=(32, 64))
    found = forecast_of(tmp_path, frames={"size": [32, 32], "fit": fit})
    assert (found.area_lost, found.area_black) == (pytest.approx(lost), pytest.approx(black))


def test_differences_are_leaves_by_path_and_a_list_is_a_tuple() -> None:
    before = {"a": {"b": 1, "c": (1, 2)}, "d": [3], "e": "x"}
    after = {"a": {"b": 2, "c": [1, 2]}, "d": [3, 4], "f": "y"}
    assert list(differences(before, after)) == [
        ("a.b", 1, 2), ("d", [3], [3, 4]), ("e", "x", None), ("f", None, "y"),
    ]  # fmt: skip
    assert list(differences(before, before)) == []
