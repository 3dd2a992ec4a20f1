"""When: the time ranges of a video that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from patchlake.tasks import keys
from patchlake.tasks.types import Clip, Track, Video

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Windows(BaseModel):
    """Frame level: windows of one length at one stride, from the first displayed frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: Literal["windows"] = "windows"
    seconds: Seconds
    """Length of a window."""
    stride_seconds: Seconds | None = None
    """From start to start; by default the length, so that windows touch."""
    tail: Literal["keep", "drop"] = "keep"
    """Whether the last, shorter window of a video is a clip; a video shorter than a window always is one."""


class _Times(Protocol):
    @property
    def duration_seconds(self) -> float: ...
    @property
    def fps(self) -> Fraction: ...


def window_ranges(method: Windows, video: _Times) -> list[tuple[float, float]]:
    """Return [start, stop) in seconds of each window; together they leave out no frame unless stride > length.

    Starts are exact multiples of the stride as written in the recipe. A rest shorter than a frame is no window of its
    own, as at a constant rate no frame starts in it: it belongs to the window before, unless the tail is dropped.
    """
    length = Fraction(repr(method.seconds))
    stride = length if method.stride_seconds is None else Fraction(repr(method.stride_seconds))
    end = Fraction(video.duration_seconds)
    frame = 1 / video.fps if video.fps else Fraction(1, 500)
    slack, rest = frame / 2, frame * Fraction(999, 1000)
    ranges: list[tuple[float, float]] = []
    start = Fraction(0)
    while start + rest < end or not ranges:
        stop = start + length
        if method.tail == "keep" and stop < end <= stop + rest:
            stop = end
        if stop <= end + slack:
            ranges.append((float(start), float(stop)))
        elif method.tail == "keep" or not ranges:
            ranges.append((float(start), float(max(end, start + slack))))
        if stop + rest >= end:
            break
        start += stride
    return ranges


def cut(track: Track, video: Video, methods: Iterable[Windows], *, label: str | None) -> list[Clip]:
    """Return the clips of a track in time order, each range once."""
    ranges = sorted({r for method in methods for r in window_ranges(method, video)})
    return [
        Clip(
            clip_id=keys.clip_id(track.track_id, start, stop),
            track_id=track.track_id,
            video_id=video.video_id,
            start_seconds=start,
            stop_seconds=stop,
            label=label,
        )
        for start, stop in ranges
    ]
