"""Hypothesis strategies and makers for the row model: grids, layouts, timestamps, videos, spans.

from strategies import grids, streams

@given(grid=grids(), stream=streams())
def test(grid: Grid, stream: Stream) -> None: ...
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from patchlake.tasks import pts
from patchlake.tasks.grid import Grid, Layout
from patchlake.tasks.types import FrameIndex, FrameSource, IntArray, Span, Video

INT64 = np.iinfo(np.int64)
RATES = tuple(map(Fraction, ("25", "24", "30", "30000/1001", "24000/1001", "60000/1001", "10", "12.5", "15")))


class Stream(NamedTuple):
    """A video and its frames' times."""

    video: Video
    index: FrameIndex

    @property
    def seconds(self) -> list[Fraction]:
        """Exact time of each frame from the first one."""
        return [(int(p) - self.video.first_pts) * self.video.time_base for p in self.index.pts]


def grids(largest: int = 9) -> st.SearchStrategy[Grid]:
    """Return grids with overlapping, touching and scattered cells."""
    sizes, offsets = st.integers(1, largest), st.integers(0, largest)
    return st.builds(
        Grid,
        st.tuples(sizes, sizes, sizes),
        st.tuples(sizes, sizes, sizes),
        st.tuples(offsets, offsets, offsets),
    )


def layouts() -> st.SearchStrategy[Layout]:
    """Return row model constants whose align divides the slot."""
    return st.builds(lambda align, n: Layout(align * n, align), st.integers(1, 12), st.integers(1, 24))


@st.composite
def ascending(draw: st.DrawFn, *, max_size: int = 60, low: int = INT64.min, high: int = INT64.max) -> IntArray:
    """Return ascending int64 timestamps, anything from a constant rate to the ends of the type."""
    return np.array(sorted(draw(st.lists(st.integers(low, high), max_size=max_size))), dtype=np.int64)


def a_video(**changes: Any) -> Video:
    """Return a plausible video, with changes."""
    known: dict[str, Any] = {
        "video_id": "v", "container": "matroska,webm", "codec": "h264", "pixel_format": "yuv420p",
        "width": 320, "height": 240, "rotation": 0, "sample_aspect": Fraction(1), "fps": Fraction(25),
        "time_base": Fraction(1, 12800),
        "num_frames": 50, "num_frames_from_header": 50, "first_pts": 0, "duration_seconds": 2.0,
        "duration_seconds_from_header": 2.0, "variable_rate": False, "counted": False, "num_video_streams": 1,
        "has_audio": False,
    }  # fmt: skip
    return Video(**{**known, **changes})


def a_source(video_id: str = "v", **changes: Any) -> FrameSource:
    """Return what a worker needs of a video, with changes."""
    known: dict[str, Any] = {
        "video_id": video_id, "uri": f"/{video_id}", "width": 4, "height": 4, "rotation": 0,
        "sample_aspect": Fraction(1), "time_base": Fraction(1, 25), "first_pts": 0, "counted": False,
    }  # fmt: skip
    return FrameSource(**{**known, **changes})


def a_span(key: str, num_rows: int, *, first_grid_row: int = 0, video_id: str = "v", gop: int = 12) -> Span:
    """Return a span of frames at PTS 0, 1, ... of a video that goes on, with a key frame every `gop`."""
    first = first_grid_row
    return Span(
        span_key=key,
        track_id=f"t-{video_id}",
        video_id=video_id,
        start_seconds=float(first),
        stop_seconds=float(first + num_rows),
        num_rows=num_rows,
        first_grid_row=first,
        pts=pts.pack(np.arange(first, first + num_rows)),
        key_pts=pts.pack(np.arange(first - first % gop, first + num_rows, gop)),
        stop_pts=first + num_rows,
    )


@st.composite
def constant_rates(draw: st.DrawFn, *, max_frames: int = 400) -> Video:
    """Return a video of constant rate, as far as its times go."""
    fps, n = draw(st.sampled_from(RATES)), draw(st.integers(1, max_frames))
    return a_video(fps=fps, num_frames=n, duration_seconds=float(n / fps))


@st.composite
def streams(draw: st.DrawFn, *, max_frames: int = 40) -> Stream:
    """Return a video with its frame index: constant or variable rate, any first PTS, key frames anywhere."""
    time_base = draw(
        st.sampled_from([Fraction(1, 12800), Fraction(1, 1000), Fraction(1001, 30000), Fraction(1, 90000)])
    )
    n = draw(st.integers(1, max_frames))
    step = max(1, round(Fraction(1, 25) / time_base))
    steps = draw(st.one_of(st.just([step] * n), st.lists(st.integers(1, 3 * step), min_size=n, max_size=n)))
    first = draw(st.integers(-3 * step, 10**6))
    times = first + np.concatenate([[0], np.cumsum(steps)])
    keys = [i for i in range(n) if i == 0 or draw(st.integers(0, 5)) == 0]
    duration = float((int(times[-1]) - first) * time_base)
    video = a_video(
        time_base=time_base,
        num_frames=n,
        first_pts=first,
        duration_seconds=duration,
        fps=Fraction(n) / Fraction(duration),
    )
    index = FrameIndex(pts=times[:-1].astype(np.int64), key_rows=np.array(keys, dtype=np.int64))
    return Stream(video, index)
