"""What a recipe requests of each video: its tracks, the clips known before decoding, and the spans to store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from patchlake.tasks import keys, tracks
from patchlake.tasks.clips import cut, spans
from patchlake.tasks.clips.method import Cuttable, Part, within
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.plan.given import Given
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import BoxPath, Clip, Source, Track, Video

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is requested of one track."""

    track: Track
    clips: tuple[Clip, ...]
    """Clips known before anything is decoded."""
    searched: tuple[Part, ...]
    """Parts in which clips will be searched for in stored scores."""
    grown: tuple[Part, ...] = ()
    """Parts in which regions will be searched for; their boxes become tracks of their own."""

    @property
    def ranges(self) -> list[Range]:
        """[start, stop) in seconds of the spans to store."""
        known = [(clip.start_seconds, clip.stop_seconds) for clip in self.clips]
        return spans.union([*known, *((part.start, part.stop) for part in (*self.searched, *self.grown))])


def wanted_of(sources: Sequence[Source], video: Video, recipe: Recipe, given: Given) -> list[Wanted]:
    """Return what is requested of a video's tracks, by all sources that hold it."""
    tracked: dict[str, tuple[Track, Part, list[Part], dict[str, list[Part]]]] = {}
    for source in sources:
        for boxes, extent, parts in _tracked(source, video, recipe, given):
            track = tracks.track_of(video.video_id, boxes)
            _, _, all_parts, events = tracked.setdefault(track.track_id, (track, extent, [], {}))
            all_parts += [part for part in parts if part.stop > part.start]
            for file, by_uri in given.events.items():
                found = by_uri.get(source.uri, ())
                events.setdefault(file, []).extend(
                    cut.part_of(event, video, label=source.label)
                    for event in found
                    if cut.why_left_out(event, video, takes_points=True) is None
                )
    is_grown = recipe.tracks != "frame" and recipe.tracks.are_found
    return [
        Wanted(track=track, clips=(), searched=(), grown=tuple(parts))
        if is_grown and track.boxes is None
        else Wanted(
            track=track,
            clips=tuple(cut.cut(track, recipe.clips, Cuttable(video=video, parts=parts, events=events, extent=extent))),
            searched=tuple(cut.searched(recipe.clips, parts)),
        )
        for track, extent, parts, events in tracked.values()
    ]


def _tracked(
    source: Source, video: Video, recipe: Recipe, given: Given
) -> Iterable[tuple[BoxPath | None, Part, list[Part]]]:
    """Yield each track that a source requests: its boxes, its extent, and the parts of it to cut clips from."""
    frame = float(1 / video.fps) if video.fps else 0.002
    whole = Part(0.0, max(video.duration_seconds, frame / 2), source.label)  # a single frame may have duration 0
    for annotation in source.annotations:
        if annotation.start_frame is not None and video.variable_rate:
            raise RecipeError(f"{source.uri}: got a range in frames, expected seconds: its frame rate is not constant")
    annotated = [
        (annotation.box, cut.part_of(annotation, video, label=source.label)) for annotation in source.annotations
    ] or [(None, whole)]
    if recipe.tracks == "frame":
        for box in dict.fromkeys(box for box, _ in annotated):
            path = None if box is None else BoxPath(name="box", boxes=(box,))
            yield _inside(path, source, video), whole, [part for other, part in annotated if other == box]
        return
    boxes = given.boxes.get(source.uri, ())
    if recipe.tracks.are_found:
        yield None, whole, [part for _, part in annotated]
        boxes = given.found.get(video.video_id, ())
    for path in boxes:
        extent = whole._replace(label=path.label or source.label)
        if path.seconds:
            extent = extent._replace(start=path.seconds[0], stop=min(whole.stop, path.seconds[-1] + frame))
        parts = [within(part, extent)._replace(label=path.label or part.label) for _, part in annotated]
        yield _inside(path, source, video), extent, parts


def left_out(sources: Sequence[Source], video: Video, recipe: Recipe, given: Given) -> Counter[tuple[str, str]]:
    """Return (file, why) -> how many events about whole frames of a video give no clip of it."""
    found: Counter[tuple[str, str]] = Counter()
    if recipe.tracks != "frame":
        return found
    for file, by_uri in given.events.items():
        takes_points = any(method.takes_points for method in recipe.clips if method.events_file == file)
        for source in sources:
            for event in by_uri.get(source.uri, ()):
                if (why := cut.why_left_out(event, video, takes_points=takes_points)) is not None:
                    found[file, why] += 1
    return found


def _inside(path: BoxPath | None, source: Source, video: Video) -> BoxPath | None:
    if path is not None and not tracks.is_inside(path, video):
        raise RecipeError(
            f"box {path.name!r} of {source.uri}: got x, y, width, height {path.boxes[0]}, expected boxes that overlap "
            f"the frame of {video.width} x {video.height} upright source pixels"
        )
    return path


def span_keys(wanted: Wanted, frames: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return span_key, start and stop (seconds) of a track's spans. `frames`: the dataset's `frames_key`."""
    track = wanted.track
    return [(keys.span_key(track.video_id, track.boxes, a, b, frames), a, b) for a, b in wanted.ranges]
