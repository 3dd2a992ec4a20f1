"""Windows cover a video without a gap, and none of them is empty."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from strategies import Stream, a_video, constant_rates, streams

from patchlake.tasks.clips.cut import cut
from patchlake.tasks.clips.method import Cuttable, Part
from patchlake.tasks.clips.windows import Windows, window_ranges
from patchlake.tasks.tracks import track_of
from patchlake.tasks.types import Clip, FrameIndex, Video

quick = settings(max_examples=250, deadline=None)
SECONDS = st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0, 1.1, 2.0, 2.002, 3.3, 10.0])


@dataclass(frozen=True)
class Times:
    """What windows depend on."""

    duration_seconds: float
    fps: Fraction = Fraction(25)


def constant(fps: str, num_frames: int) -> Video:
    rate = Fraction(fps)
    return a_video(fps=rate, num_frames=num_frames, duration_seconds=float(num_frames / rate))


def frames_in(ranges: list[tuple[float, float]], video: Video) -> list[list[int]]:
    """Return the frames of a video of constant rate that are shown in each range."""
    times = [float(i / video.fps) for i in range(video.num_frames)]
    return [[i for i, t in enumerate(times) if start <= t < stop] for start, stop in ranges]


@quick
@given(video=constant_rates(), seconds=SECONDS, stride=st.none() | SECONDS)
def test_together_windows_show_every_frame(video: Video, seconds: float, stride: float | None) -> None:
    assume((stride or seconds) <= seconds)
    ranges = window_ranges(Windows(seconds=seconds, stride_seconds=stride), video)
    frame = float(1 / video.fps)
    assert ranges[0][0] == 0.0
    assert ranges == sorted(set(ranges))
    for (_, stop), (start, _) in itertools.pairwise(ranges):
        assert start <= stop, "a gap"
    assert ranges[-1][1] > video.duration_seconds - frame
    assert {i for shown in frames_in(ranges, video) for i in shown} == set(range(video.num_frames))


LATE = Stream(
    a_video(time_base=Fraction(1, 1000), fps=Fraction(26 * 1000, 1005), num_frames=26, duration_seconds=1.005),
    FrameIndex(pts=np.arange(26) * 40, key_rows=np.array([0])),
)
"""Its last frame comes at 1.0 s and stays for 5 ms only."""


@quick
@given(stream=streams(), seconds=st.sampled_from([0.1, 0.3, 0.5, 1.0]))
@example(stream=LATE, seconds=1.0)
def test_at_a_variable_rate_no_frame_is_left_out_either(stream: Stream, seconds: float) -> None:
    ranges = window_ranges(Windows(seconds=seconds), stream.video)
    for time in stream.seconds:
        assert any(start <= float(time) < stop for start, stop in ranges)


@quick
@given(
    video=constant_rates(),
    seconds=SECONDS,
    stride=st.none() | SECONDS,
    tail=st.sampled_from(["keep", "drop"]),
)
@example(video=constant("30000/1001", 540), seconds=2.0, stride=None, tail="keep")
@example(video=constant("24", 3), seconds=0.1, stride=None, tail="keep")
def test_no_window_is_empty(video: Video, seconds: float, stride: float | None, tail: str) -> None:
    assume(seconds * video.fps > 1)
    ranges = window_ranges(Windows(seconds=seconds, stride_seconds=stride, tail=tail), video)
    empty = [r for r, shown in zip(ranges, frames_in(ranges, video), strict=True) if not shown]
    assert not empty


@quick
@given(video=constant_rates(), seconds=SECONDS, stride=st.none() | SECONDS)
def test_starts_are_multiples_of_the_stride_and_lengths_as_asked(
    video: Video, seconds: float, stride: float | None
) -> None:
    ranges = window_ranges(Windows(seconds=seconds, stride_seconds=stride), video)
    step = Fraction(str(stride or seconds))
    assert [start for start, _ in ranges] == [float(i * step) for i in range(len(ranges))]
    for i, (_, stop) in enumerate(ranges[:-1]):
        whole = float(i * step + Fraction(str(seconds)))
        assert stop == whole or stop <= video.duration_seconds + 1e-9
    assert ranges[-1][1] <= ranges[-1][0] + seconds + float(1 / video.fps)


@quick
@given(video=constant_rates(), seconds=SECONDS, stride=st.none() | SECONDS)
def test_tail_drop_leaves_out_short_windows_and_nothing_else(
    video: Video, seconds: float, stride: float | None
) -> None:
    keep = window_ranges(Windows(seconds=seconds, stride_seconds=stride), video)
    drop = window_ranges(Windows(seconds=seconds, stride_seconds=stride, tail="drop"), video)
    half = float(1 / video.fps) / 2
    assume(all(abs(stop - start - seconds + half) > 1e-6 for start, stop in keep))
    whole = [r for r in keep if r[1] - r[0] > seconds - half]
    assert [start for start, _ in drop] == [start for start, _ in whole or keep[:1]]


BY_HAND = [
    ("25", 164, None, "keep", [(0, 2), (2, 4), (4, 6), (6, 6.56)]),
    ("25", 164, None, "drop", [(0, 2), (2, 4), (4, 6)]),
    ("25", 250, None, "keep", [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]),
    ("25", 30, None, "keep", [(0, 1.2)]),
    ("25", 30, None, "drop", [(0, 1.2)]),
    ("25", 125, 1.0, "keep", [(0, 2), (1, 3), (2, 4), (3, 5)]),
    ("25", 130, 1.0, "keep", [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5.2)]),
    ("25", 130, 1.0, "drop", [(0, 2), (1, 3), (2, 4), (3, 5)]),
    ("25", 250, 4.0, "keep", [(0, 2), (4, 6), (8, 10)]),
    ("25", 175, 4.0, "keep", [(0, 2), (4, 6)]),
]


@pytest.mark.parametrize(("fps", "num_frames", "stride", "tail", "expected"), BY_HAND)
def test_two_second_windows_by_hand(
    fps: str, num_frames: int, stride: float | None, tail: str, expected: list[tuple[float, float]]
) -> None:
    method = Windows(seconds=2.0, stride_seconds=stride, tail=tail)
    assert window_ranges(method, constant(fps, num_frames)) == expected


@pytest.mark.parametrize("duration", [10.0, 10.0000001, 9.9999999, 10.001])
def test_a_duration_that_is_a_little_off_gives_no_tail(duration: float) -> None:
    ranges = window_ranges(Windows(seconds=2.0), Times(duration))
    assert [start for start, _ in ranges] == [0, 2, 4, 6, 8]
    assert ranges[-1][1] == pytest.approx(10, abs=0.0011)


def test_a_tenth_of_a_second_stays_a_tenth() -> None:
    ranges = window_ranges(Windows(seconds=0.1), Times(1.0, Fraction(30)))
    assert [start for start, _ in ranges] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [stop for _, stop in ranges] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_29_97_frames_per_second_over_an_hour() -> None:
    ranges = window_ranges(Windows(seconds=2.0), Times(float(Fraction(107892 * 1001, 30000)), Fraction(30000, 1001)))
    assert len(ranges) == 1800
    assert ranges[-1] == (3598.0, pytest.approx(3600, abs=0.02))


@pytest.mark.parametrize(("duration", "fps"), [(0.0, 25), (0.04, 25), (0.04, 0), (0.0, 0)])
def test_a_single_frame_is_a_clip(duration: float, fps: int) -> None:
    ranges = window_ranges(Windows(seconds=2.0, tail="drop"), Times(duration, Fraction(fps)))
    assert len(ranges) == 1
    assert ranges[0][0] == 0.0
    assert ranges[0][1] > 0.0


def cut_whole(video: Video, methods: list[Windows], *, label: str) -> list[Clip]:
    part = Part(0.0, video.duration_seconds, label)
    return cut(track_of(video.video_id), methods, Cuttable(video=video, parts=[part], events={}, extent=part))


def test_clips_of_several_methods_come_in_order_and_once() -> None:
    video = constant("25", 100)
    methods = [Windows(seconds=2.0), Windows(seconds=1.0), Windows(seconds=2.0, stride_seconds=1.0)]
    found = cut_whole(video, methods, label="run")
    ranges = [(clip.start_seconds, clip.stop_seconds) for clip in found]
    assert ranges == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]
    assert len({clip.clip_id for clip in found}) == len(found)
    assert {(clip.label, clip.video_id, clip.track_id) for clip in found} == {("run", "v", track_of("v").track_id)}
    relabelled = cut_whole(video, methods, label="jump")
    assert [clip.clip_id for clip in relabelled] == [clip.clip_id for clip in found]


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf")])
def test_lengths_and_strides_are_finite_and_positive(bad: float) -> None:
    with pytest.raises(ValidationError):
        Windows(seconds=bad)
    with pytest.raises(ValidationError):
        Windows(seconds=1.0, stride_seconds=bad)
