"""Spans hold the union of clips, and of each span the right frames, times and key frames."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import Stream, a_video, streams

from patchlake.tasks import keys, pts
from patchlake.tasks.clips.spans import span_of, union
from patchlake.tasks.tracks import track_of
from patchlake.tasks.types import FrameIndex, Span

quick = settings(max_examples=200, deadline=None)
FRAMES = {"size": [8, 8], "fit": "crop", "fps": "native"}


def cut_span(stream: Stream, start: float, stop: float, fps: Fraction | None) -> Span:
    track = track_of("v")
    return span_of(track, stream.video, stream.index, start_seconds=start, stop_seconds=stop, fps=fps, frames=FRAMES)


@quick
@given(pairs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=12))
def test_the_union_covers_what_the_clips_cover(pairs: list[tuple[int, int]]) -> None:
    ranges = union([(start / 4, (start + length) / 4) for start, length in pairs])
    for (_, stop), (start, _) in itertools.pairwise(ranges):
        assert stop < start, "touching ranges are one"
    cells = {cell for start, length in pairs for cell in range(start, start + length)}
    assert [cell for start, stop in ranges for cell in range(int(start * 4), int(stop * 4))] == sorted(cells)


def test_touching_clips_are_one_span_and_others_are_not() -> None:
    assert union([(4, 6), (0, 2), (2, 4), (6.5, 7), (1, 3)]) == [(0, 6), (6.5, 7)]
    assert union([(0, 9), (2, 4)]) == [(0, 9)]
    assert union([]) == []


def check_ends(span: Span, stream: Stream) -> None:
    """Key frames: the last one up to the first row's frame, and those in the span; stop: the next frame."""
    shown, all_pts = pts.unpack(span.pts).tolist(), stream.index.pts.tolist()
    all_keys = stream.index.pts[stream.index.key_rows].tolist()
    start = max((key for key in all_keys if key <= shown[0]), default=None)
    expected = [key for key in all_keys if key == start or shown[0] < key <= shown[-1]]
    assert pts.unpack(span.key_pts).tolist() == expected
    assert span.stop_pts == min((p for p in all_pts if p > shown[-1]), default=None)


@quick
@given(stream=streams(), start=st.floats(0, 2), length=st.floats(0.01, 2))
def test_at_native_rate_a_span_holds_the_frames_shown_in_it(stream: Stream, start: float, length: float) -> None:
    stop = start + length
    span = cut_span(stream, start, stop, None)
    rows = [i for i, t in enumerate(stream.seconds) if start <= float(t) < stop]
    assert pts.unpack(span.pts).tolist() == stream.index.pts[rows].tolist()
    assert span.num_rows == len(rows)
    assert (span.start_seconds, span.stop_seconds) == (start, stop)
    if rows:
        assert span.first_grid_row == rows[0]
        check_ends(span, stream)


@quick
@given(stream=streams(), cuts=st.lists(st.floats(0, 4), max_size=5))
def test_touching_spans_share_no_frame_and_lose_none(stream: Stream, cuts: list[float]) -> None:
    borders = [0.0, *sorted(set(cuts) - {0.0}), 1e9]
    spans = [cut_span(stream, a, b, None) for a, b in itertools.pairwise(borders)]
    assert np.concatenate([pts.unpack(span.pts) for span in spans]).tolist() == stream.index.pts.tolist()


def grid_rows(stream: Stream, start: float, stop: float, fps: Fraction) -> list[tuple[int, int]]:
    """Try every grid time up to the end: k, and the PTS of the last frame that is not after it."""
    rows, k = [], 0
    while float(k / fps) < min(stop, stream.video.duration_seconds):
        if float(k / fps) >= start:
            seen = [int(p) for p, t in zip(stream.index.pts, stream.seconds, strict=True) if t <= k / fps]
            rows.append((k, seen[-1]))
        k += 1
    return rows


@quick
@given(
    stream=streams(max_frames=25),
    start=st.one_of(st.floats(0, 1), st.integers(0, 10).map(lambda i: i / 10)),
    length=st.one_of(st.floats(0.01, 1), st.just(0.1)),
    fps=st.sampled_from(["10", "25", "30", "2.5", "60", "30000/1001"]),
)
def test_at_a_numeric_rate_each_grid_time_shows_the_last_frame_not_after_it(
    stream: Stream, start: float, length: float, fps: str
) -> None:
    rate, stop = Fraction(fps), start + length
    span = cut_span(stream, start, stop, rate)
    rows = grid_rows(stream, start, stop, rate)
    assert pts.unpack(span.pts).tolist() == [p for _, p in rows]
    assert span.num_rows == len(rows)
    if rows:
        assert span.first_grid_row == rows[0][0]
        check_ends(span, stream)


def tenths() -> Stream:
    """A video of 10 frames per second, of 2 seconds."""
    video = a_video(time_base=Fraction(1, 10), fps=Fraction(10), num_frames=20, duration_seconds=2.0)
    return Stream(video, FrameIndex(pts=np.arange(20), key_rows=np.array([0, 10])))


@pytest.mark.parametrize("fps", [None, Fraction(10)])
@pytest.mark.parametrize("k", range(19))
def test_a_tenth_of_a_second_holds_its_frame_at_either_rate(fps: Fraction | None, k: int) -> None:
    span = cut_span(tenths(), k / 10, (k + 1) / 10, fps)
    assert pts.unpack(span.pts).tolist() == [k]


def test_more_rows_than_frames_repeat_them_and_fewer_skip_them() -> None:
    assert pts.unpack(cut_span(tenths(), 0.0, 0.5, Fraction(20)).pts).tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
    ]
    assert pts.unpack(cut_span(tenths(), 0.0, 2.0, Fraction(4)).pts).tolist() == [0, 2, 5, 7, 10, 12, 15, 17]
    late = cut_span(tenths(), 1.2, 1.6, Fraction(5))
    assert pts.unpack(late.pts).tolist() == [12, 14]
    assert (late.first_grid_row, pts.unpack(late.key_pts).tolist(), late.stop_pts) == (6, [10], 15)


def test_a_span_past_the_end_has_no_rows() -> None:
    for fps in (None, Fraction(10)):
        span = cut_span(tenths(), 5.0, 6.0, fps)
        assert (span.num_rows, span.pts, span.stop_pts) == (0, b"", None)


@quick
@given(stream=streams())
@example(stream=tenths())
def test_the_key_is_that_of_content_where_when_and_how(stream: Stream) -> None:
    span = cut_span(stream, 0.0, 1.5, None)
    assert span.span_key == keys.span_key(stream.video.video_id, None, 0.0, 1.5, FRAMES)
    assert span.track_id == track_of("v").track_id
