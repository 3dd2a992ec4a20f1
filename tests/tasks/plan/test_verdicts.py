"""What becomes of a source: by what is committed, what failed, and what is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import Ingested, ingest, open_dataset, survey_of
from tiny_lakes import TINY, name_of, videos_in

from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.plan.verdicts import Judged, verdicts
from patchlake.tasks.unit.drop import drop_product

ALL_OK = {"a": ("ok", None), "b": ("ok", None), "c": ("ok", None)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = videos_in(tmp_path_factory.mktemp("tiny"))
    (folder / "videos" / "right" / "d.mp4").write_bytes(b"this is text" * 50)
    (folder / "videos" / "right" / "e.mp4").write_bytes((folder / "videos" / "left" / "a.mp4").read_bytes())
    return ingest(folder, TINY)


def named(judged: Judged) -> dict[str, tuple[str, str | None]]:
    return {name_of(source.uri): (source.status, source.reason) for source, _ in judged}


def judge(done: Ingested, **changes: Any) -> dict[str, tuple[str, str | None]]:
    """Return the verdicts of a lake whose `failures` or `lost` are as given, on the videos that were stored."""
    dataset, before = done.dataset.reread(), done.tables.failures.rows()
    dataset.ledger.lost.update(changes.get("lost", {}))
    try:
        done.tables.failures.overwrite(changes.get("failures", []))
        found = named(verdicts(dataset, done.survey, done.plan))
    finally:
        done.tables.failures.overwrite(before)
    return {name: found[name] for name in "abc"}


def failure(done: Ingested, name: str, reason: str, *, num_rows: int, row_start: int | None = None) -> dict[str, Any]:
    """Return a row of `failures`: of a video's only piece, so many rows were stored."""
    placement = next(p for p in done.plan.placements if p.span.video_id == video_of(done, name))
    first = placement.row_start if row_start is None else row_start
    planned = placement.span.num_rows
    place = {"span_key": placement.span.span_key, "video_id": placement.span.video_id, "row_start": first}
    return {
        **place, "num_rows": num_rows, "num_rows_planned": planned, "reason": reason, "message": f"{name}: why",
        "surplus": b"",
    }  # fmt: skip


def video_of(done: Ingested, name: str) -> str:
    return next(str(key) for source, key in done.survey.sources if name_of(source.uri) == name)


def test_what_is_stored_is_ok_copies_are_duplicates_and_what_is_no_video_stays_rejected(done: Ingested) -> None:
    expected = {**ALL_OK, "d": ("rejected", "not_video"), "e": ("duplicate", None)}
    assert named(verdicts(done.dataset, done.survey, done.plan)) == expected
    stored = {name_of(row["uri"]): (row["status"], row["reason"]) for row in done.tables.sources.rows()}
    assert stored == expected


@pytest.mark.parametrize(
    ("reason", "num_rows", "verdict"),
    [
        ("corrupt", 0, ("rejected", "corrupt")),
        ("corrupt", 10, ("partial", "corrupt")),
        ("timeout", 0, ("failed", "timeout")),
        ("memory", 0, ("failed", "memory")),
        ("crash", 0, ("failed", "crash")),
        ("crash", 1, ("partial", "crash")),
        ("count_grew", 24, ("ok", "count_grew")),
    ],
)
def test_a_failure_counts_by_its_reason_and_by_whether_any_row_is_stored(
    done: Ingested, reason: str, num_rows: int, verdict: tuple[str, str]
) -> None:
    found = judge(done, failures=[failure(done, "b", reason, num_rows=num_rows)])
    assert found == {**ALL_OK, "b": verdict}


def test_more_frames_than_promised_are_said_only_where_nothing_was_lost(done: Ingested) -> None:
    grew, lost = failure(done, "b", "count_grew", num_rows=24), failure(done, "b", "corrupt", num_rows=4)
    assert judge(done, failures=[grew, lost]) == judge(done, failures=[lost, grew])
    assert judge(done, failures=[grew, lost])["b"] == ("partial", "corrupt")


def test_a_failure_of_a_place_where_the_span_no_longer_lies_counts_nothing(done: Ingested) -> None:
    assert judge(done, failures=[failure(done, "b", "corrupt", num_rows=0, row_start=64)]) == ALL_OK
    elsewhere = {**failure(done, "b", "corrupt", num_rows=0), "span_key": "of another recipe"}
    assert judge(done, failures=[elsewhere]) == ALL_OK


def test_a_video_that_ended_its_workers_failed_whatever_is_stored(done: Ingested) -> None:
    found = judge(done, lost={video_of(done, "c"): "ended 3 workers"})
    assert found == {**ALL_OK, "c": ("failed", "crash")}


def planned(done: Ingested, recipe: dict[str, Any]) -> tuple[Dataset, Plan, Judged]:
    dataset = open_dataset(Path(done.dataset.recipe.lake).parent, recipe)
    found = survey_of(dataset)
    plan = make_plan(dataset, found, Workers(total=1))
    return dataset, plan, verdicts(dataset, found, plan)


def test_before_its_units_are_done_a_source_is_not_in_the_lake_yet(done: Ingested) -> None:
    _, plan, judged = planned(done, {**TINY, "name": "new"})
    assert len(plan.new) == 3
    messages = {name_of(source.uri): (source.status, source.message) for source, _ in judged}
    assert {messages[name] for name in "abc"} == {("skipped", "not in the lake yet")}


def test_a_product_that_is_missing_makes_all_its_videos_skipped(tmp_path: Path) -> None:
    one = ingest(videos_in(tmp_path), TINY)
    drop_product(one.dataset, "edges")
    assert named(verdicts(one.dataset, one.survey, one.plan)) == dict.fromkeys("abc", ("skipped", None))


def test_a_video_of_which_nothing_is_asked_for_is_skipped(done: Ingested) -> None:
    wanted = dict(done.survey.wanted)
    key = next(key for key, one in wanted.items() if one.track.video_id == video_of(done, "a"))
    wanted[key] = replace(wanted[key], clips=())
    found = verdicts(done.dataset, replace(done.survey, wanted=wanted), done.plan)
    source = next(source for source, _ in found if name_of(source.uri) == "a")
    assert (source.status, source.message) == ("skipped", "no box or event of it is asked for")


def test_a_video_none_of_whose_frames_lie_in_its_clips_is_rejected(done: Ingested) -> None:
    left = tuple(p for p in done.plan.placements if p.span.video_id != video_of(done, "c"))
    found = named(verdicts(done.dataset, done.survey, replace(done.plan, placements=left)))
    assert found["c"] == ("rejected", "no_frames")
