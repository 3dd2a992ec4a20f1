"""Plans: where spans lie, by arithmetic on three videos; what is stored stays where it is and is not done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
from in_process import Ingested, ingest, open_dataset, run_units, survey_of
from tiny_lakes import LENGTHS, ROW_STARTS, TINY, name_of, videos_in

from patchlake.tasks import pts
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.planner import clips_by_span, make_plan, plan_from_pixels
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.unit.drop import drop_product
from patchlake.tasks.unit.record import record
from patchlake.tasks.unit.settle import settle
from patchlake.tasks.video.probe import Probed

ONE = Workers(total=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest(videos_in(tmp_path_factory.mktemp("tiny")), TINY)


def planned(folder: Path, **changes: Any) -> tuple[Dataset, Survey, Plan]:
    dataset = open_dataset(folder, {**TINY, **changes})
    found = survey_of(dataset)
    return dataset, found, make_plan(dataset, found, ONE)


def folder_of(done: Ingested) -> Path:
    return Path(done.dataset.recipe.lake).parent


def names_by_video(survey: Survey) -> dict[str | None, str]:
    return {video_id: name_of(source.uri) for source, video_id in survey.sources}


def test_spans_are_packed_and_slots_are_units(done: Ingested) -> None:
    names = names_by_video(done.survey)
    places = {names[p.span.video_id]: p.row_start for p in done.plan.placements}
    assert places == ROW_STARTS
    assert done.plan.new == done.plan.placements
    assert done.plan.num_slots == 3
    assert sorted(unit.slots for unit in done.plan.units) == [(0,), (1,), (2,)]
    assert {unit.products for unit in done.plan.units} == {("pixels", "edges")}
    assert done.plan.num_new_rows == sum(LENGTHS.values())
    assert done.plan.padding == pytest.approx(1 - 94 / 96)
    assert sorted(done.plan.new_tracks.values()) == [0, 1, 2]
    assert done.plan.deferred == ()
    assert done.plan.surplus == frozenset()


def test_what_is_done_is_not_planned_again(done: Ingested) -> None:
    _, _, plan = planned(folder_of(done))
    assert (plan.units, plan.deferred, plan.new, dict(plan.new_tracks)) == ((), (), (), {})
    assert plan.placements == done.plan.placements
    assert plan.num_slots == 3


def test_the_same_survey_gives_the_same_plan(done: Ingested) -> None:
    one, two = (planned(folder_of(done), name="new")[2] for _ in range(2))
    assert one == two


def test_a_new_feature_is_computed_for_every_slot_and_pixels_are_not(done: Ingested) -> None:
    _, _, plan = planned(folder_of(done), features=["edges", "color"])
    assert plan.new == ()
    assert sorted(unit.slots for unit in plan.units) == [(0,), (1,), (2,)]
    assert {unit.products for unit in plan.units} == {("color",)}


def test_a_new_video_is_packed_behind_what_is_there(tmp_path: Path) -> None:
    ingest(videos_in(tmp_path), TINY)
    clips.render(tmp_path / "videos" / "right" / "0.mp4", num_frames=12, size=(32, 32), start=900)
    _, survey, plan = planned(tmp_path)
    (new,) = plan.new
    assert names_by_video(survey)[new.span.video_id] == "0"
    assert (new.row_start, new.track, plan.num_slots) == (96, 3, 4), "no slot that is written is opened again"
    assert [unit.slots for unit in plan.units] == [(3,)]
    assert len(plan.placements) == 4


def test_a_video_that_is_gone_is_no_longer_wanted_but_its_place_stays(tmp_path: Path) -> None:
    ingest(videos_in(tmp_path), TINY)
    (tmp_path / "videos" / "left" / "a.mp4").unlink()
    dataset, _, plan = planned(tmp_path)
    assert [p.row_start for p in plan.placements] == [40, 64]
    assert plan.units == ()
    assert len(dataset.ledger.placements) == 3


def test_clips_lie_in_the_spans_that_hold_them(done: Ingested) -> None:
    names = names_by_video(done.survey)
    found = clips_by_span(done.survey, done.plan)
    ranges = {
        names[p.span.video_id]: [(c.start_seconds, c.stop_seconds) for c in found[p.span.span_key]]
        for p in done.plan.placements
    }
    assert ranges == {"a": [(0.0, 0.8), (0.8, 1.6)], "b": [(0.0, 0.8), (0.8, 0.96)], "c": [(0.0, 0.8), (0.8, 1.2)]}


def test_a_plan_from_pixels_reads_no_corpus(tmp_path: Path) -> None:
    one = ingest(videos_in(tmp_path), TINY)
    drop_product(one.dataset, "edges")
    for path in (tmp_path / "videos").rglob("*.mp4"):
        path.unlink()
    survey, plan = plan_from_pixels(one.dataset.reread(), ONE)
    assert (survey.sources, survey.wanted, plan.new) == ((), {}, ())
    assert sorted((unit.slots, unit.products) for unit in plan.units) == [((i,), ("edges",)) for i in range(3)]
    assert [p.row_start for p in plan.placements] == sorted(ROW_STARTS.values())


def forget(probe: Probed) -> Probed:
    """Tell of fewer packets than the video has, as a lying index does: frames 10, 11 and the last are not promised."""
    assert probe.index is not None
    assert probe.video is not None
    left = [i for i in range(24) if i not in (10, 11, 23)]
    index = replace(probe.index, pts=probe.index.pts[left], key_rows=np.array([0]))
    return replace(probe, index=index, video=replace(probe.video, num_frames=21))


def test_frames_beyond_the_promised_ones_are_a_second_pass_and_then_nothing_is_left(tmp_path: Path) -> None:
    first = ingest(videos_in(tmp_path, {"left/b.mp4": 24}), TINY, mend=forget)
    assert (first.plan.num_new_rows, first.plan.surplus) == (21, frozenset())

    dataset = first.dataset.reread()
    plan = make_plan(dataset, first.survey, ONE)
    (beyond,) = plan.new
    assert plan.surplus == {beyond.span.span_key}
    numbers = [round(25 * second) for second in seconds_of(first, beyond.span.pts)]
    assert numbers == [21, 22, 23], "frames take the rows of the slot in order: the last ones found no room"
    assert beyond.row_start == 32, "behind the slot that is written"
    (clip,) = clips_by_span(first.survey, plan)[beyond.span.span_key]
    assert clip.label == "left", "it lies in the clip of 0.8 to 0.96 seconds and has what is said of that"
    assert (clip.start_seconds, clip.stop_seconds) == pytest.approx((0.84, 0.96))

    record(dataset, first.survey, plan)
    run_units(dataset, first.survey, plan)
    settle(dataset, first.survey, plan)
    third = make_plan(dataset.reread(), first.survey, ONE)
    assert (third.units, third.new, third.surplus) == ((), (), plan.surplus)
    stored, track = first.array("pixels/frames"), first.array("pixels/track")
    assert sorted(clips.numbers_of(stored[track >= 0])) == list(range(24))


def seconds_of(done: Ingested, packed: bytes) -> list[float]:
    """Return when frames of some PTS are shown."""
    (video,) = done.survey.videos.values()
    return [float(x) for x in pts.seconds_of(pts.unpack(packed), video.time_base, first_pts=video.first_pts)]
