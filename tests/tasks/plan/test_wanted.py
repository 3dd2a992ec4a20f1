"""What is wanted of a video: tracks, clips known before decoding, and the spans that they cover."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import BASE
from strategies import a_video

from patchlake.tasks import keys
from patchlake.tasks import recipe as recipes
from patchlake.tasks.clips.method import Part
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.plan.given import Given
from patchlake.tasks.plan.wanted import Wanted, span_keys, wanted_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import Annotation, BoxPath, Source

VIDEO = a_video(width=100, height=80)
"""Two seconds at 25 frames a second."""
SOURCE = Source(uri="/a.mp4", size=1, version="1", label="walk")
NOTHING = Given(boxes={}, events={}, hidden={}, unmatched={})


def recipe_of(**changes: Any) -> Recipe:
    known = {**BASE, "corpus": {"videos": "videos"}, "clips": [{"seconds": 0.8}]}
    return recipes.parse({**known, **changes}, base=Path("/base"))


def wanted(*sources: Source, given: Given = NOTHING, **changes: Any) -> list[Wanted]:
    return wanted_of(sources or (SOURCE,), VIDEO, recipe_of(**changes), given)


def clips_of(one: Wanted) -> list[tuple[float, float, str | None]]:
    return [(clip.start_seconds, clip.stop_seconds, clip.label) for clip in one.clips]


def test_a_whole_video_is_one_track_whose_windows_touch() -> None:
    (one,) = wanted()
    assert (one.track.boxes, one.track.video_id) == (None, "v")
    assert clips_of(one) == [(0.0, 0.8, "walk"), (0.8, 1.6, "walk"), (1.6, 2.0, "walk")]
    assert one.ranges == [(0.0, 2.0)]
    assert (one.searched, one.grown) == ((), ())


def test_windows_with_gaps_are_a_span_each() -> None:
    (one,) = wanted(clips=[{"seconds": 0.4, "stride_seconds": 1.0}])
    assert one.ranges == [(0.0, 0.4), (1.0, 1.4)]
    frames = {"size": [8, 8]}
    assert span_keys(one, frames) == [(keys.span_key("v", None, a, b, frames), a, b) for a, b in one.ranges]


def test_annotations_with_boxes_are_tracks_of_their_own() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    parts = (
        Annotation(start_seconds=0.0, stop_seconds=0.8, label="one"),
        Annotation(start_seconds=1.0, stop_seconds=1.4, label="two", box=box),
        Annotation(start_seconds=1.4, stop_seconds=9.0, box=box),
    )
    whole, boxed = wanted(replace(SOURCE, annotations=parts), clips=[{"method": "events"}])
    assert clips_of(whole) == [(0.0, 0.8, "one")]
    assert clips_of(boxed) == [(1.0, 1.4, "two"), (1.4, 2.0, "walk")], "an end past the video's is the video's"
    assert boxed.track.boxes == BoxPath(name="box", boxes=(box,))
    assert boxed.ranges == [(1.0, 2.0)]


def test_sources_of_one_content_share_tracks_and_clips_and_the_first_one_labels() -> None:
    (one,) = wanted(SOURCE, replace(SOURCE, uri="/b.mp4", label="run"))
    assert {label for _, _, label in clips_of(one)} == {"walk"}
    assert len(one.clips) == 3


def test_boxes_of_a_file_are_the_tracks_and_moving_ones_last_as_long_as_their_path() -> None:
    still = BoxPath(name="still", boxes=((0.0, 0.0, 50.0, 40.0),))
    moving = BoxPath(
        name="moving", seconds=(0.4, 1.16), boxes=((0.0, 0.0, 10.0, 10.0), (5.0, 0.0, 10.0, 10.0)), label="run"
    )
    given = replace(NOTHING, boxes={SOURCE.uri: [still, moving]})
    first, second = wanted(given=given, tracks={"boxes": "boxes.csv"})
    assert (first.track.boxes, first.ranges) == (still, [(0.0, 2.0)])
    assert second.track.boxes == moving
    assert second.ranges == [(0.4, pytest.approx(1.2))], "its last box is there for a frame"
    assert clips_of(second)[0] == (0.4, pytest.approx(1.2), "run")


def test_a_video_that_a_file_of_boxes_does_not_name_is_not_wanted() -> None:
    assert wanted(tracks={"boxes": "boxes.csv"}) == []


def test_a_box_outside_the_frame_is_an_error_that_names_it() -> None:
    given = replace(NOTHING, boxes={SOURCE.uri: [BoxPath(name="far", boxes=((200.0, 0.0, 8.0, 8.0),))]})
    with pytest.raises(RecipeError, match=r"box 'far' of /a.mp4: got .*overlap the frame of 100 x 80"):
        wanted(given=given, tracks={"boxes": "boxes.csv"})


def test_events_are_cut_by_their_file_and_keep_their_labels() -> None:
    happens = [Annotation(start_seconds=0.4, stop_seconds=0.8, label="jump"), Annotation(start_seconds=1.6)]
    given = replace(NOTHING, events={"/base/e.csv": {SOURCE.uri: happens, "/other.mp4": happens}})
    (one,) = wanted(given=given, clips=[{"method": "events", "file": "e.csv"}])
    assert clips_of(one) == [(0.4, 0.8, "jump"), (1.6, 2.0, "walk")]


def test_where_clips_are_found_in_scores_all_is_stored_and_none_is_known() -> None:
    (one,) = wanted(clips=[{"method": "shots"}], features=["shot_score"])
    assert (one.clips, one.searched) == ((), (Part(0.0, 2.0, "walk"),))
    assert one.ranges == [(0.0, 2.0)]


def test_where_tracks_follow_regions_the_whole_frame_is_grown_and_has_no_clips() -> None:
    path = BoxPath(name="r", seconds=(0.0, 0.96), boxes=((0.0, 0.0, 10.0, 10.0),) * 2)
    follow = {"tracks": {"boxes": "regions"}, "features": ["regions"]}
    (alone,) = wanted(**follow)
    assert (alone.clips, alone.grown, alone.ranges) == ((), (Part(0.0, 2.0, "walk"),), [(0.0, 2.0)])
    whole, found = wanted(given=replace(NOTHING, found={"v": [path]}), **follow)
    assert whole == alone
    assert clips_of(found) == [(0.0, 0.8, "walk"), (0.8, pytest.approx(1.0), "walk")]
