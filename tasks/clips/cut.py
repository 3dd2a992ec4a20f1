"""From methods to clips: what is cut of a track before decoding, and where clips will be found later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from patchlake.tasks import keys
from patchlake.tasks.clips.method import ClipMethod, Cuttable, Part
from patchlake.tasks.types import Annotation, Clip, Track


def part_of(annotation: Annotation, duration_seconds: float, *, label: str | None) -> Part:
    """Return the part of a video that an annotation is about; one without a label has its source's."""
    start, stop = annotation.start_seconds or 0.0, annotation.stop_seconds
    stop = duration_seconds if stop is None else min(stop, duration_seconds)
    return Part(start, stop, annotation.label or label, annotation.targets)


def cut(track: Track, methods: Iterable[ClipMethod], known: Cuttable) -> list[Clip]:
    """Return the clips of a track that are known before decoding, in time order, each range once.

    Where two ranges are equal the first one's label stands.
    """
    found: dict[tuple[float, float], Part] = {}
    for method in methods:
        for part in method.cut(known):
            found.setdefault((part.start, part.stop), part)
    return [clip_of(track, start, stop, found[start, stop]) for start, stop in sorted(found)]


def searched(methods: Iterable[ClipMethod], parts: Sequence[Part]) -> list[Part]:
    """Return the parts whose frames are all stored since clips will be found in their scores."""
    return list(parts) if any(method.searches for method in methods) else []


def clip_of(track: Track, start: float, stop: float, part: Part) -> Clip:
    """Return the clip of a range that lies in a part, and so has what is said of it."""
    return Clip(
        clip_id=keys.clip_id(track.track_id, start, stop),
        track_id=track.track_id,
        video_id=track.video_id,
        start_seconds=start,
        stop_seconds=stop,
        label=part.label,
        targets=part.targets,
    )
