"""`windows`: clips of equal length at a fixed stride."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from patchlake.tasks.clips.method import ClipMethod, Cuttable, Part, Seconds, Times


class Windows(ClipMethod):
    """Frame level: windows of equal length at a fixed stride, from the first displayed frame."""

    method: Literal["windows"] = "windows"
    seconds: Seconds
    """Length of a window."""
    stride_seconds: Seconds | None = None
    """Distance between starts; by default the length, so that windows touch."""
    tail: Literal["keep", "drop"] = "keep"
    """Whether the last, shorter window of a video becomes a clip; a video shorter than one window always does."""

    def cut(self, track: Cuttable) -> list[Part]:
        """Return the windows of each part of the track."""
        return [
            part._replace(start=start, stop=stop)
            for part in track.parts
            for start, stop in window_ranges(self, track.video, part.start, part.stop)
        ]


def window_ranges(
    method: Windows, video: Times, start_seconds: float = 0.0, stop_seconds: float | None = None
) -> list[tuple[float, float]]:
    """Return [start, stop) in seconds of each window of a part; they cover every frame unless stride > length.

    Starts are exact multiples of the stride as written in the recipe, from the part's start. A remainder shorter than
    a frame is not a window of its own, because at a constant rate no frame starts in it: it is added to the window
    before, unless the tail is dropped.
    """
    length = Fraction(repr(method.seconds))
    stride = length if method.stride_seconds is None else Fraction(repr(method.stride_seconds))
    end = Fraction(video.duration_seconds if stop_seconds is None else stop_seconds)
    frame = 1 / video.fps if video.fps else Fraction(1, 500)
    slack, rest = frame / 2, frame * Fraction(999, 1000)
    ranges: list[tuple[float, float]] = []
    start = Fraction(repr(start_seconds))
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
