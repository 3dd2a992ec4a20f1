"""From methods to clips: which clips are cut before decoding, and where clips will be searched for later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from patchlake.tasks import keys
from patchlake.tasks.clips.method import ClipMethod, Cuttable, Part, Times
from patchlake.tasks.types import Annotation, Clip, Track


def part_of(annotation: Annotation, video: Times, *, label: str | None) -> Part:
    """Return the part of a video that an annotation covers; without a label of its own it has the source's.

    It is clipped at the video's end, so that a part past the end is empty: stop <= start.
    """
    start, stop = annotation.start_seconds or 0.0, annotation.stop_seconds
    if annotation.start_frame is not None or annotation.stop_frame is not None:
        start = seconds_of_frame(annotation.start_frame or 0, video)
        stop = None if annotation.stop_frame is None else seconds_of_frame(annotation.stop_frame, video)
    end = video.duration_seconds
    return Part(start, end if stop is None else min(stop, end), annotation.label or label, annotation.targets)


def seconds_of_frame(frame: int, video: Times) -> float:
    """Return when a frame is shown, at a constant rate.

    >>> from fractions import Fraction
    >>> class Video:
    ...     duration_seconds, fps, variable_rate = 2.0, Fraction(30000, 1001), False
    >>> round(seconds_of_frame(30, Video()), 6)
    1.001
    """
    return float(frame / video.fps) if video.fps else 0.0


def why_left_out(annotation: Annotation, video: Times, *, takes_points: bool = False) -> str | None:
    """Return why an annotation gives no part of a video, or None where it gives one."""
    if (annotation.start_frame is not None or annotation.stop_frame is not None) and video.variable_rate:
        return "frame numbers in a video without a constant rate: give seconds"
    part = part_of(annotation, video, label=None)
    is_point = annotation.start_seconds is not None and annotation.start_seconds == annotation.stop_seconds
    if part.start >= video.duration_seconds:
        return "past the end of its video"
    if is_point and not takes_points:
        return "lasts no time: give `around` seconds to the method events"
    return None


def cut(track: Track, methods: Iterable[ClipMethod], known: Cuttable) -> list[Clip]:
    """Return the clips of a track that are known before decoding, in time order.

    A range of several methods is the first one's, and its first label counts; but a range that a file of events gives
    several labels is a clip for each.
    """
    found: dict[tuple[float, float], list[Part]] = {}
    for method in methods:
        mine: dict[tuple[float, float], list[Part]] = {}
        for part in method.cut(known):
            same = mine.setdefault((part.start, part.stop), [])
            is_new = part.label is not None and part.label not in [other.label for other in same]
            if not same or (is_new and method.events_file is not None):
                same.append(part)
        found = {**mine, **found}
    return [
        clip_of(track, start, stop, part, is_another=i > 0)
        for start, stop in sorted(found)
        for i, part in enumerate(found[start, stop])
    ]


def searched(methods: Iterable[ClipMethod], parts: Sequence[Part]) -> list[Part]:
    """Return the parts whose frames must all be stored because clips will be searched for in their scores."""
    return list(parts) if any(method.searches for method in methods) else []


def clip_of(track: Track, start: float, stop: float, part: Part, *, is_another: bool = False) -> Clip:
    """Return the clip of a range that lies in a part; it has the part's label and targets.

    `is_another`: not the first clip of that range; then its label is part of its identity.
    """
    return Clip(
        clip_id=keys.clip_id(track.track_id, start, stop, part.label if is_another else None),
        track_id=track.track_id,
        video_id=track.video_id,
        start_seconds=start,
        stop_seconds=stop,
        label=part.label,
        targets=part.targets,
    )
