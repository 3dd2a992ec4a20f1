"""Spans: the union of touching clips, and the frames that lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from patchlake.tasks import keys, pts
from patchlake.tasks.types import FrameIndex, IntArray, Span, Track, Video


def union(ranges: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the disjoint [start, stop) that touching or overlapping ranges of one track cover, in order."""
    merged: list[tuple[float, float]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def span_of(
    track: Track,
    video: Video,
    index: FrameIndex,
    *,
    start_seconds: float,
    stop_seconds: float,
    fps: Fraction | None,
    frames: dict[str, Any],
) -> Span:
    """Return the span of a time range: its frames, their times, and where decoding can start.

    `fps` None keeps the stream's own frames; a number takes, for each grid time k / fps in the range, the frame shown
    at that time. `frames` is the recipe's frames entry; it goes into the key.
    """
    if fps is None:
        times = pts.seconds_of(index.pts, video.time_base, first_pts=video.first_pts)
        first, stop = (int(i) for i in np.searchsorted(times, [start_seconds, stop_seconds], side="left"))
        shown = index.pts[first:stop]
        past = stop
    else:
        first = _row_at(start_seconds, fps)
        stop = max(first, _row_at(min(stop_seconds, video.duration_seconds), fps))
        shown = _shown_at(index.pts, video, fps, first, stop)
        past = int(np.searchsorted(index.pts, shown[-1], side="right")) if shown.size else len(index.pts)
    key_pts = index.pts[index.key_rows]
    if shown.size:
        before = key_pts[key_pts <= shown[0]][-1:]
        key_pts = np.concatenate([before, key_pts[(key_pts > shown[0]) & (key_pts <= shown[-1])]])
    return Span(
        span_key=keys.span_key(video.video_id, track.boxes, start_seconds, stop_seconds, frames),
        track_id=track.track_id,
        video_id=video.video_id,
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
        num_rows=int(shown.size),
        first_grid_row=first,
        pts=pts.pack(shown),
        key_pts=pts.pack(key_pts),
        stop_pts=int(index.pts[past]) if past < len(index.pts) else None,
    )


def surplus_of(span: Span, track: Track, surplus: bytes, *, video: Video, row: int, frames: dict[str, Any]) -> Span:
    """Return the span of frames that decoding gave beyond those planned, before a row of a span at native rate.

    `surplus` holds their PTS (`pts.pack`). The new span lasts from the first of them to the frame of `row`, or to the
    span's end.
    """
    shown, planned = pts.unpack(surplus), pts.unpack(span.pts)
    start, last = (float(x) for x in pts.seconds_of(shown[[0, -1]], video.time_base, first_pts=video.first_pts))
    stop_pts = int(planned[row]) if row < span.num_rows else span.stop_pts
    stop = max(span.stop_seconds, float(np.nextafter(last, math.inf)))
    if row < span.num_rows:
        stop = float(pts.seconds_of(planned[row : row + 1], video.time_base, first_pts=video.first_pts)[0])
    key_pts = pts.unpack(span.key_pts)
    return replace(
        span,
        span_key=keys.span_key(video.video_id, track.boxes, start, stop, frames),
        start_seconds=start,
        stop_seconds=stop,
        num_rows=len(shown),
        first_grid_row=span.first_grid_row + row,
        pts=surplus,
        key_pts=pts.pack(key_pts[key_pts <= shown[0]][-1:]),
        stop_pts=stop_pts,
    )


def _row_at(seconds: float, fps: Fraction) -> int:
    """Return the first k whose grid time k / fps, rounded to the stored float, is not before `seconds`."""
    k = math.ceil(Fraction(seconds) * fps)
    return k - 1 if k and float((k - 1) / fps) >= seconds else k


def _shown_at(all_pts: IntArray, video: Video, fps: Fraction, first: int, stop: int) -> IntArray:
    """Return the PTS shown at grid times first / fps ... (stop - 1) / fps: the last frame not after each."""
    ticks_per_step = 1 / (fps * video.time_base)
    limits = [video.first_pts + math.floor(k * ticks_per_step) for k in range(first, stop)]
    rows = np.searchsorted(all_pts, np.array(limits, dtype=np.int64), side="right") - 1
    return all_pts[np.maximum(rows, 0)]
