"""Ranges tile, ascend and shift as scores do, and are those of PySceneDetect's detectors on the same scores."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scenedetect
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scenedetect.detector import FlashFilter

from patchlake.tasks.clips import segment
from patchlake.tasks.clips.scores import Scores
from patchlake.tasks.clips.segment import Range, events, pooled, shots
from patchlake.tasks.clips.shots import Shots
from patchlake.tasks.types import FloatArray

quick = settings(max_examples=200, deadline=None)
FPS = 25
DETECTORS = ("adaptive", "content", "histogram", "hash", "fade")
LEVELS = {"adaptive": 60.0, "content": 60.0, "histogram": 1.0, "hash": 1.0, "fade": 30.0}
"""Up to where scores are drawn: about twice the threshold."""


@st.composite
def series(draw: st.DrawFn, *, top: float = 1.0, nan: bool = True, min_size: int = 0) -> FloatArray:
    """Return values in 0..top, many of them equal, with NaN here and there."""
    level = st.sampled_from([0.0, 0.25 * top, 0.5 * top, 0.75 * top, top]) | st.floats(0, top)
    value = level | st.just(float("nan")) if nan else level
    return np.array(draw(st.lists(value, min_size=min_size, max_size=80)), dtype=np.float64)


@st.composite
def times(draw: st.DrawFn, count: int) -> tuple[FloatArray, float]:
    """Return ascending times of rows and the end of the last: whole frames, now and then some of them missing."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 7]), min_size=count + 1, max_size=count + 1))
    ticks = np.cumsum([draw(st.integers(0, 100)), *steps])
    return ticks[:count] / FPS, float(ticks[count]) / FPS


def scores_of(detector: str, values: FloatArray) -> dict[str, FloatArray]:
    return {segment.CHANNELS[detector]: values}


def seconds_of(count: int) -> FloatArray:
    return np.arange(count) / FPS


def cuts(method: Shots, values: FloatArray) -> list[int]:
    """Return the first row of each shot but the first, at a constant rate."""
    found = shots(method, seconds_of(len(values)), scores_of(method.detector, values), stop_seconds=(len(values)) / FPS)
    return [round(start * FPS) for start, _ in found[1:]]


# shots


@quick
@given(data=st.data(), detector=st.sampled_from(DETECTORS), min_seconds=st.sampled_from([0.0, 0.04, 0.2, 0.6]))
def test_shots_tile_the_track_and_start_at_stored_times(data: Any, detector: Any, min_seconds: float) -> None:
    values = data.draw(series(top=LEVELS[detector], min_size=1))
    seconds, stop = data.draw(times(len(values)))
    method = Shots(method="shots", detector=detector, min_seconds=min_seconds)
    found = shots(method, seconds, scores_of(detector, values), stop_seconds=stop)
    assert found[0][0] == seconds[0]
    assert found[-1][1] == stop
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(start < end for start, end in found)
    assert {start for start, _ in found} <= set(seconds.tolist())
    if detector != "fade":  # whose cuts lie midway between times that are that far apart
        assert all(end - start >= min_seconds - 1e-6 for start, end in found[:-1])


@quick
@given(data=st.data(), detector=st.sampled_from(DETECTORS), offset=st.sampled_from([0.25, 1.0, 4096.0]))
def test_shots_move_with_the_clock(data: Any, detector: Any, offset: float) -> None:
    values = data.draw(series(top=LEVELS[detector], min_size=1))
    seconds, stop = data.draw(times(len(values)))
    scores, method = scores_of(detector, values), Shots(method="shots", detector=detector, min_seconds=0.2)
    early = shots(method, seconds, scores, stop_seconds=stop)
    late = shots(method, seconds + offset, scores, stop_seconds=stop + offset)
    assert late == [(pytest.approx(a + offset), pytest.approx(b + offset)) for a, b in early]


def test_a_track_without_rows_has_no_shots_and_no_events() -> None:
    nothing = np.empty(0)
    for detector in DETECTORS:
        assert (
            shots(Shots(method="shots", detector=detector), nothing, scores_of(detector, nothing), stop_seconds=1) == []
        )
    for find in METHODS:
        assert events(find, nothing, nothing, stop_seconds=1.0) == []


def library_cuts(detector: Any, values: FloatArray, frames: list[Any]) -> list[int]:
    """Return what a detector says of frames, whose scores it is given here."""
    found = []
    for i, frame in enumerate(frames):
        time = scenedetect.FrameTimecode(i, fps=float(FPS))
        found += [cut.frame_num for cut in detector.process_frame(time, frame)]
    return sorted(set(found) - {0})


class GivenContent:
    """A detector's frame scores are the frames themselves."""

    def _calculate_frame_score(self, timecode: Any, frame_img: Any) -> float:
        return float(frame_img)


class GivenAdaptive(GivenContent, scenedetect.AdaptiveDetector):  # type: ignore[misc]
    pass


class GivenPlainContent(GivenContent, scenedetect.ContentDetector):  # type: ignore[misc]
    pass


@quick
@given(values=series(top=60.0, nan=False, min_size=1), width=st.integers(1, 4), frames=st.sampled_from([0, 1, 5, 15]))
def test_adaptive_is_the_rule_of_adaptive_detector(values: FloatArray, width: int, frames: int) -> None:
    detector = GivenAdaptive(window_width=width, min_scene_len=frames)
    method = Shots(method="shots", detector="adaptive", window_frames=width, min_seconds=frames / FPS)
    assert cuts(method, values) == library_cuts(detector, values, list(values))


@quick
@given(values=series(top=60.0, nan=False, min_size=1), frames=st.sampled_from([0, 1, 3, 15]))
@example(values=np.array([0, 30, 0, 0, 30, 0, 30, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0]), frames=3)
def test_content_is_the_rule_of_content_detector(values: FloatArray, frames: int) -> None:
    detector = GivenPlainContent(min_scene_len=frames)
    method = Shots(method="shots", detector="content", min_seconds=frames / FPS)
    assert cuts(method, values) == library_cuts(detector, values, list(values))


@quick
@given(bits=st.lists(st.integers(0, 64), min_size=1, max_size=80), frames=st.sampled_from([0, 1, 3, 15]))
def test_hash_and_histogram_suppress_as_the_flash_filter_does(bits: list[int], frames: int) -> None:
    values = np.array(bits) / 64
    flashes, expected = FlashFilter(FlashFilter.Mode.SUPPRESS, frames), []
    for i, is_above in enumerate((values >= 0.35).tolist()):
        expected += [cut.frame_num for cut in flashes.filter(scenedetect.FrameTimecode(i, fps=float(FPS)), is_above)]
    expected = [cut for cut in expected if cut > 0]
    min_seconds = frames / FPS
    assert cuts(Shots(method="shots", detector="hash", min_seconds=min_seconds), values) == expected
    histogram = Shots(method="shots", detector="histogram", threshold=0.35, min_seconds=min_seconds)
    assert cuts(histogram, 1 - values) == expected


@quick
@given(values=st.lists(st.integers(0, 30), min_size=1, max_size=80), frames=st.sampled_from([0, 1, 5, 15]))
@example(values=[20] * 20 + [3] * 6 + [20] * 20 + [3] * 3, frames=15)
def test_fades_are_the_rule_of_threshold_detector(values: list[int], frames: int) -> None:
    detector = scenedetect.ThresholdDetector(min_scene_len=frames)
    expected = library_cuts(detector, np.array(values), [np.full((1, 1, 3), v, np.uint8) for v in values])
    method = Shots(method="shots", detector="fade", min_seconds=frames / FPS)
    assert cuts(method, np.array(values, dtype=np.float64)) == expected


@quick
@given(data=st.data(), detector=st.sampled_from(DETECTORS), gradual=st.sampled_from([0.2, 1.0]))
def test_gradual_changes_add_cuts_and_take_none(data: Any, detector: Any, gradual: float) -> None:
    correlation = data.draw(series(min_size=1))
    seconds, stop = data.draw(times(len(correlation)))
    values = data.draw(st.just(correlation) if detector == "histogram" else st.just(correlation * LEVELS[detector]))
    scores = {"hist_diff": correlation, segment.CHANNELS[detector]: values}
    abrupt = shots(Shots(method="shots", detector=detector), seconds, scores, stop_seconds=stop)
    found = shots(Shots(method="shots", detector=detector, gradual=gradual), seconds, scores, stop_seconds=stop)
    assert {start for start, _ in abrupt} <= {start for start, _ in found}
    assert found[0][0] == seconds[0]
    assert found[-1][1] == stop
    assert all(a[1] == b[0] and a[0] < a[1] for a, b in pairwise([*found, (stop, stop)]))
    late = shots(
        Shots(method="shots", detector=detector, gradual=gradual), seconds + 64.0, scores, stop_seconds=stop + 64.0
    )
    assert late == [(pytest.approx(a + 64.0), pytest.approx(b + 64.0)) for a, b in found]


def test_a_dissolve_is_cut_in_its_middle_and_a_cut_is_no_dissolve() -> None:
    change = np.zeros(200)
    change[90:110] = 0.1
    change[50] = 0.9
    scores = {"hist_diff": 1 - change, "content_val": 50.0 * (change > 0.5)}
    for gradual, expected in ((None, [50]), (1.0, [50, 100]), (2.5, [50])):
        method = Shots(method="shots", gradual=gradual)
        found = shots(method, seconds_of(200), scores, stop_seconds=8.0)
        starts = [round(start * FPS) for start, _ in found[1:]]
        assert starts == pytest.approx(expected, abs=3)


def test_thresholds_are_the_detectors_defaults() -> None:
    of = {
        "adaptive": (scenedetect.AdaptiveDetector, "adaptive_threshold"),
        "content": (scenedetect.ContentDetector, "threshold"),
        "histogram": (scenedetect.HistogramDetector, "threshold"),
        "hash": (scenedetect.HashDetector, "threshold"),
        "fade": (scenedetect.ThresholdDetector, "threshold"),
    }
    defaults = {name: inspect.signature(kind).parameters[key].default for name, (kind, key) in of.items()}
    assert defaults == segment.THRESHOLDS
    adaptive = inspect.signature(scenedetect.AdaptiveDetector).parameters
    method = Shots(method="shots")
    assert (method.window_frames, method.min_content) == (
        adaptive["window_width"].default,
        adaptive["min_content_val"].default,
    )
    assert method.min_seconds == adaptive["min_scene_len"].default / FPS


# events

METHODS = [
    Scores(method="scores", product="p", find="threshold", above=0.5),
    Scores(method="scores", product="p", find="threshold", below=0.4),
    Scores(method="scores", product="p", find="threshold", above=0.25, below=0.75),
    Scores(method="scores", product="p", find="hysteresis", high=0.75, low=0.25),
    Scores(method="scores", product="p", find="change_points", penalty=3.0),
    Scores(method="scores", product="p", find="change_points", penalty=3.0, above=0.5, min_seconds=0.12),
    Scores(method="scores", product="p", find="hysteresis", high=0.75, low=0.25, min_seconds=0.12, merge_seconds=0.1),
]


def rows_in(ranges: list[Range], seconds: FloatArray) -> list[bool]:
    return [any(start <= t < stop for start, stop in ranges) for t in seconds]


@quick
@given(data=st.data(), method=st.sampled_from(METHODS), values=series())
def test_events_ascend_are_disjoint_and_made_of_stored_times(data: Any, method: Scores, values: FloatArray) -> None:
    seconds, stop = data.draw(times(len(values)))
    found = events(method, seconds, values, stop_seconds=stop)
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    assert all(start < end for start, end in found)
    assert {t for r in found for t in r} <= {*seconds.tolist(), stop}
    assert all(end - start >= method.min_seconds - 1e-6 for start, end in found)
    if not method.merge_seconds:
        assert not (np.array(rows_in(found, seconds), dtype=bool) & np.isnan(values)).any()


@quick
@given(data=st.data(), method=st.sampled_from(METHODS), values=series(), offset=st.sampled_from([0.25, 1.0, 4096.0]))
def test_events_move_with_the_clock(data: Any, method: Scores, values: FloatArray, offset: float) -> None:
    seconds, stop = data.draw(times(len(values)))
    early = events(method, seconds, values, stop_seconds=stop)
    late = events(method, seconds + offset, values, stop_seconds=stop + offset)
    assert late == [(pytest.approx(a + offset), pytest.approx(b + offset)) for a, b in early]


@quick
@given(data=st.data(), values=series(), level=st.floats(0, 1))
def test_a_threshold_is_what_it_says_and_hysteresis_of_one_level_is_one(
    data: Any, values: FloatArray, level: float
) -> None:
    seconds, stop = data.draw(times(len(values)))
    one = Scores(method="scores", product="p", find="threshold", above=level)
    two = Scores(method="scores", product="p", find="hysteresis", high=level, low=level)
    found = events(one, seconds, values, stop_seconds=stop)
    assert rows_in(found, seconds) == [bool(v >= level) for v in values]
    assert events(two, seconds, values, stop_seconds=stop) == found


@quick
@given(data=st.data(), values=series(), low=st.floats(0, 1), more=st.floats(0, 1))
def test_hysteresis_lies_between_its_thresholds(data: Any, values: FloatArray, low: float, more: float) -> None:
    seconds, stop = data.draw(times(len(values)))
    method = Scores(method="scores", product="p", find="hysteresis", high=low + more, low=low)
    inside = rows_in(events(method, seconds, values, stop_seconds=stop), seconds)
    assert all(v >= low for v, i in zip(values, inside, strict=True) if i)
    assert all(i for v, i in zip(values, inside, strict=True) if v >= low + more)


BY_HAND = [
    ({"find": "threshold", "above": 1.0}, [(1, 3), (4, 5), (8, 10)]),
    ({"find": "threshold", "above": 1.0, "merge_seconds": 1.0}, [(1, 5), (8, 10)]),
    ({"find": "threshold", "above": 1.0, "min_seconds": 2.0}, [(1, 3), (8, 10)]),
    ({"find": "threshold", "above": 1.0, "merge_seconds": 1.0, "min_seconds": 3.0}, [(1, 5)]),
    ({"find": "threshold", "below": 0.0}, [(0, 1), (3, 4), (5, 6), (7, 8)]),
    ({"find": "hysteresis", "high": 3.0, "low": 1.0}, [(8, 10)]),
]


@pytest.mark.parametrize(("how", "expected"), BY_HAND)
def test_events_by_hand(how: Any, expected: list[Range]) -> None:
    values = np.array([0, 1, 2, 0, 1, 0, np.nan, 0, 1, 3])
    method = Scores(method="scores", product="p", **how)
    assert events(method, np.arange(10.0), values, stop_seconds=10.0) == expected


def test_change_points_are_where_the_mean_changes() -> None:
    noise = np.random.default_rng(0).standard_normal(400)
    values = noise + np.repeat([0, 6, 0, 3], 100)
    method = Scores(method="scores", product="p", find="change_points", penalty=10.0, min_seconds=0.4)
    found = events(method, seconds_of(400), values, stop_seconds=16.0)
    assert found == [(0.0, 4.0), (4.0, 8.0), (8.0, 12.0), (12.0, 16.0)]
    high = method.model_copy(update={"above": 2.0})
    assert events(high, seconds_of(400), values, stop_seconds=16.0) == found[1::2]
    assert events(method, seconds_of(400), 1e6 * values, stop_seconds=16.0) == found, "the unit does not matter"


def test_change_points_of_what_does_not_change_are_none() -> None:
    method = Scores(method="scores", product="p", find="change_points", penalty=1.0)
    assert events(method, seconds_of(50), np.ones(50), stop_seconds=2.0) == [(0.0, 2.0)]
    gap = np.where(np.arange(50) == 20, np.nan, 1.0)
    assert events(method, seconds_of(50), gap, stop_seconds=2.0) == [(0.0, 0.8), (0.84, 2.0)]


def test_cells_are_pooled_to_one_value_a_row() -> None:
    features = np.arange(24, dtype=np.float32).reshape(3, 2, 2, 2)
    names = ("u", "v")
    assert pooled(features, names, channel="v", pool="max").tolist() == [7, 15, 23]
    assert pooled(features, names, channel="u", pool="mean").tolist() == [3, 11, 19]
    assert pooled(features[..., :1], ("u",), channel=None, pool="mean").tolist() == [3, 11, 19]
    with pytest.raises(ValueError, match=r"channel: got none, expected one of u, v"):
        pooled(features, names, channel=None, pool="mean")
    with pytest.raises(ValueError, match=r"channel: got 'w', expected one of u, v"):
        pooled(features, names, channel="w", pool="mean")


@pytest.mark.parametrize("seconds", [[0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 9.0]])
def test_times_that_are_not_a_tracks_are_refused(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        events(METHODS[0], np.array(seconds), np.zeros(3), stop_seconds=3.0)


# the recipe's entries

WRONG = [
    ({"find": "threshold"}, "above: got none"),
    ({"find": "threshold", "above": 2, "below": 1}, r"above: got 2\.0, expected at most below = 1\.0"),
    ({"find": "threshold", "high": 1}, r"high: got 1\.0 with find threshold, which takes above and below"),
    ({"find": "hysteresis", "high": 1}, "low: got none with find hysteresis"),
    ({"find": "hysteresis", "high": 1, "low": 2}, r"low: got 2\.0, expected at most high = 1\.0"),
    ({"find": "change_points"}, "penalty: got none"),
    ({"find": "change_points", "penalty": 0}, "greater than 0"),
    ({"find": "change_points", "penalty": 1, "below": 1}, "below: got"),
    ({"find": "change_points", "penalty": 1, "merge_seconds": 1}, r"merge_seconds: got 1\.0 with change_points"),
    ({"find": "peaks"}, "find"),
    ({"find": "threshold", "above": float("nan")}, "finite"),
]


@pytest.mark.parametrize(("how", "message"), WRONG)
def test_scores_that_do_not_fit_together_are_refused(how: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Scores(method="scores", product="p", **how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"detector": "histogram", "threshold": 27}, r"threshold: got 27\.0, expected at most 1"),
        ({"detector": "content", "window_frames": 3}, "window_frames: got it with detector content"),
        ({"detector": "hash", "min_content": 3}, "min_content: got it with detector hash"),
        ({"threshold": -1}, "greater than 0"),
        ({"detector": "magic"}, "detector"),
    ],
)
def test_shots_that_do_not_fit_together_are_refused(how: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Shots(method="shots", **how)
