"""Planning: discovered sources, what the lake holds, and probes, joined into what is to be done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from patchlake.tasks import keys, tracks
from patchlake.tasks.clips import cut, spans
from patchlake.tasks.clips.cut import Events, Part
from patchlake.tasks.corpus.annotations import match, read_boxes, read_events
from patchlake.tasks.errors import OURS, RecipeError
from patchlake.tasks.lake.product import Product
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.pack import Load, pack
from patchlake.tasks.plan.units import Plan, in_turn, make_units
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import (
    PIXELS,
    Annotation,
    BoxPath,
    Clip,
    FrameIndex,
    FrameSource,
    Placement,
    Source,
    Span,
    Status,
    Track,
    Video,
)
from patchlake.tasks.video.probe import Probed

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What files that the recipe names say of sources."""

    boxes: Mapping[str, Sequence[BoxPath]]
    """uri -> its boxes."""
    events: Mapping[str, Mapping[str, Sequence[Annotation]]]
    """File -> uri -> its events."""
    hidden: Mapping[str, Sequence[tuple[str, BoxPath]]]
    """uri -> file and box of what the filter `blur` makes unrecognisable."""
    unmatched: Mapping[str, int]
    """File -> how many names in it are no source's."""
    found: Mapping[str, Sequence[BoxPath]] = field(default_factory=dict)
    """video_id -> boxes of regions found in it so far."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of one track."""

    track: Track
    clips: tuple[Clip, ...]
    """Those known before anything is decoded."""
    searched: tuple[Part, ...]
    """Where clips will be found in stored scores."""
    grown: tuple[Part, ...] = ()
    """Where regions will be found, whose boxes are tracks of their own."""

    @property
    def ranges(self) -> list[Range]:
        """[start, stop) in seconds of the spans to store."""
        known = [(clip.start_seconds, clip.stop_seconds) for clip in self.clips]
        return spans.union([*known, *((part.start, part.stop) for part in (*self.searched, *self.grown))])


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known of the corpus: every source with its verdict so far, and the videos behind them."""

    sources: tuple[tuple[Source, str | None], ...]
    """In uri order, with the video each holds; status ok means: to be stored, or stored."""
    videos: dict[str, Video]
    indexes: dict[str, FrameIndex]
    """Of the videos probed in this run."""
    wanted: dict[str, Wanted]
    """track_id -> what is wanted of it; labelled by the first source that holds the video, in uri order."""
    frame_sources: dict[str, FrameSource]
    """video_id -> what workers need to put its frames on the frame grid."""
    unmatched: Mapping[str, int]
    """File of boxes or events -> how many names in it are no source's."""

    @property
    def boxes(self) -> dict[str, BoxPath | None]:
        """track_id -> the boxes it is seen through."""
        return {key: wanted.track.boxes for key, wanted in self.wanted.items()}


def read_given(
    recipe: Recipe, sources: Sequence[Source], found: Mapping[str, Sequence[BoxPath]] | None = None
) -> Given:
    """Read the files of boxes and events that the recipe names; each must be about some source.

    `found`: video_id -> boxes of regions that the lake already tells of.
    """
    unmatched: dict[str, int] = {}

    def by_uri(file: str, rows: Sequence[tuple[str, Any]]) -> dict[str, list[Any]]:
        uris, unknown = match({name for name, _ in rows}, sources, file=file)
        unmatched[file] = len(unknown)
        found: dict[str, list[Any]] = {}
        for name, row in rows:
            if name in uris:
                found.setdefault(uris[name], []).append(row)
        return found

    boxes = "" if recipe.tracks == "frame" or recipe.tracks.are_found else recipe.tracks.boxes
    files = dict.fromkeys(m.file for m in recipe.clips if isinstance(m, Events) and m.file is not None)
    hidden: dict[str, list[tuple[str, BoxPath]]] = {}
    for file in dict.fromkeys(f.hidden_boxes for f in recipe.frames.filters if f.hidden_boxes):
        for uri, paths in by_uri(file, read_boxes(file)).items():
            hidden.setdefault(uri, []).extend((file, path) for path in paths)
    return Given(
        boxes=by_uri(boxes, read_boxes(boxes)) if boxes else {},
        events={file: by_uri(file, read_events(file)) for file in files},
        hidden=hidden,
        unmatched=unmatched,
        found=found or {},
    )


def to_probe(sources: Sequence[Source], ledger: Ledger, recipe: Recipe, given: Given) -> list[Source]:
    """Return the sources whose content, or whose frames' times, must be looked up before planning."""
    found, held = [], dict[str, list[Source]]()
    for source in sources:
        if source.status == "ok":
            known = _known(source, ledger)
            if known is None:
                found.append(source)
            elif known[1] in ledger.videos:
                held.setdefault(str(known[1]), []).append(source)
    for video_id, same in held.items():
        video = ledger.videos[video_id]
        keys_wanted = [key for wanted in wanted_of(same, video, recipe, given) for key, *_ in _spans(wanted, recipe)]
        if any(key not in ledger.placements for key in keys_wanted):
            found.append(same[0])
    return sorted(found, key=lambda source: source.uri)


def _known(source: Source, ledger: Ledger) -> tuple[Source, str | None] | None:
    """Return an earlier verdict on the same bytes, unless it lay in the machine and is worth another try."""
    known = ledger.sources.get((source.uri, source.size, source.version))
    if known is None or (known[0].status == "failed" and known[1] is None):
        return None
    return known


def survey(
    sources: Sequence[Source], probed: Mapping[str, Probed], ledger: Ledger, recipe: Recipe, given: Given
) -> Survey:
    """Join discovered sources with probes of this run (by uri) and verdicts of earlier ones."""
    judged: list[tuple[Source, str | None]] = []
    videos, indexes = dict(ledger.videos), {}
    same: dict[str, list[Source]] = {}
    for source in sources:
        source, video_id = _judge(source, probed.get(source.uri), ledger)
        if video_id is not None and (probe := probed.get(source.uri)) is not None:
            assert probe.video is not None
            assert probe.index is not None
            videos[video_id], indexes[video_id] = probe.video, probe.index
        if source.status in ("ok", "partial") and video_id is not None:
            seconds, least = videos[video_id].duration_seconds, recipe.limits.min_seconds
            if seconds < least:
                message = f"it lasts {seconds:.3g} s, less than limits.min_seconds = {least:g}"
                source = replace(source, status="skipped", reason="too_short", message=message)
            elif video_id in same:
                source = replace(source, status="duplicate", message=f"same content as {same[video_id][0].uri}")
                same[video_id].append(source)
            else:
                same[video_id] = [source]
        judged.append((source, video_id))
    wanted = [w for key, held in same.items() for w in wanted_of(held, videos[key], recipe, given)]
    return Survey(
        sources=tuple(judged),
        videos=videos,
        indexes=indexes,
        wanted={w.track.track_id: w for w in wanted},
        frame_sources={video_id: frame_source(held, videos[video_id], given.hidden) for video_id, held in same.items()},
        unmatched=given.unmatched,
    )


def _judge(source: Source, probe: Probed | None, ledger: Ledger) -> tuple[Source, str | None]:
    """Return a source with the verdict of its probe, or of an earlier run, and its video."""
    if source.status != "ok":
        return source, None
    if probe is not None:
        seen = probe.source
        source = replace(source, status=seen.status, reason=seen.reason, message=seen.message)
        return source, None if probe.video is None else probe.video.video_id
    if (known := _known(source, ledger)) is not None:
        before, video_id = known
        if video_id is None:  # never became a video: the earlier verdict stands
            return replace(source, status=before.status, reason=before.reason, message=before.message), None
        if before.reason == "truncated" and before.status in ("partial", "skipped"):
            source = replace(source, status="partial", reason=before.reason, message=before.message)
        return source, video_id
    return source, None


def wanted_of(sources: Sequence[Source], video: Video, recipe: Recipe, given: Given) -> list[Wanted]:
    """Return what is wanted of the tracks of a video, by all sources that hold it."""
    tracked: dict[str, tuple[Track, Part, list[Part], dict[str, list[Part]]]] = {}
    for source in sources:
        for boxes, extent, parts in _tracked(source, video, recipe, given):
            track = tracks.track_of(video.video_id, boxes)
            _, _, all_parts, events = tracked.setdefault(track.track_id, (track, extent, [], {}))
            all_parts += [part for part in parts if part.stop > part.start]
            for file, by_uri in given.events.items():
                found = by_uri.get(source.uri, ())
                events.setdefault(file, []).extend(
                    cut.part_of(event, video.duration_seconds, label=source.label) for event in found
                )
    is_grown = recipe.tracks != "frame" and recipe.tracks.are_found
    return [
        Wanted(track=track, clips=(), searched=(), grown=tuple(parts))
        if is_grown and track.boxes is None
        else Wanted(
            track=track,
            clips=tuple(cut.cut(track, video, recipe.clips, parts, events, extent)),
            searched=tuple(cut.searched(recipe.clips, parts)),
        )
        for track, extent, parts, events in tracked.values()
    ]


def _tracked(
    source: Source, video: Video, recipe: Recipe, given: Given
) -> Iterable[tuple[BoxPath | None, Part, list[Part]]]:
    """Yield each track that a source asks for: its boxes, how long it lasts, and the parts of it to cut clips from."""
    frame = float(1 / video.fps) if video.fps else 0.002
    whole = Part(0.0, max(video.duration_seconds, frame / 2), source.label)  # a single frame may last for no time
    annotated = [
        (annotation.box, cut.part_of(annotation, video.duration_seconds, label=source.label))
        for annotation in source.annotations
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
        parts = [cut.within(part, extent)._replace(label=path.label or part.label) for _, part in annotated]
        yield _inside(path, source, video), extent, parts


def _inside(path: BoxPath | None, source: Source, video: Video) -> BoxPath | None:
    if path is not None and not tracks.is_inside(path, video):
        raise RecipeError(
            f"box {path.name!r} of {source.uri}: got x, y, width, height {path.boxes[0]}, expected boxes that overlap "
            f"the frame of {video.width} x {video.height} upright source pixels"
        )
    return path


def frame_source(
    sources: Sequence[Source], video: Video, hidden: Mapping[str, Sequence[tuple[str, BoxPath]]]
) -> FrameSource:
    """Return what workers are told of a video that some sources hold; what any of them hides is hidden."""
    boxes = [one for source in sources for one in hidden.get(source.uri, ())]
    return FrameSource(
        video_id=video.video_id,
        uri=sources[0].uri,
        width=video.width,
        height=video.height,
        rotation=video.rotation,
        sample_aspect=video.sample_aspect,
        time_base=video.time_base,
        first_pts=video.first_pts,
        counted=video.counted,
        hidden=tuple(dict.fromkeys(boxes)),
    )


def _spans(wanted: Wanted, recipe: Recipe) -> list[tuple[str, float, float]]:
    """Return span_key, start and stop of the spans of a track."""
    track, frames = wanted.track, recipe.frames.key()
    return [(keys.span_key(track.video_id, track.boxes, a, b, frames), a, b) for a, b in wanted.ranges]


def make_plan(
    survey: Survey,
    ledger: Ledger,
    recipe: Recipe,
    products: Mapping[str, Product],
    *,
    num_workers: int,
    apart: Collection[str] = (),
) -> tuple[Plan, dict[str, int]]:
    """Return the plan, and the numbers of tracks that it is the first to use (track_id -> number).

    The products `apart` are written by units of their own, from stored pixels.
    """
    layout, frames = recipe.layout, recipe.frames.key()
    numbers = dict(ledger.tracks)
    new: dict[str, Span] = {}
    kept: list[Placement] = []
    for track_id, wanted in survey.wanted.items():
        video = survey.videos[wanted.track.video_id]
        for key, start, stop in _spans(wanted, recipe):
            numbers.setdefault(track_id, len(numbers))
            if key in ledger.placements:
                kept.append(ledger.placements[key])
            else:
                new[key] = spans.span_of(
                    wanted.track,
                    video,
                    survey.indexes[video.video_id],
                    start_seconds=start,
                    stop_seconds=stop,
                    fps=recipe.frames.rate,
                    frames=frames,
                )
    beyond = set()
    for placement in list(kept):
        for row, surplus in ledger.surplus.get(placement.span.span_key, ()):
            wanted = survey.wanted[placement.span.track_id]
            video = survey.videos[wanted.track.video_id]
            span = spans.surplus_of(placement.span, wanted.track, surplus, video=video, row=row, frames=frames)
            beyond.add(span.span_key)
            if span.span_key in ledger.placements:
                kept.append(ledger.placements[span.span_key])
            else:
                new[span.span_key] = span
    placed, num_slots = pack(_loads(new.values()), layout, first_slot=ledger.first_free_slot)
    fresh = [Placement(span=s, track=numbers[s.track_id], row_start=placed[key]) for key, s in new.items()]
    placements = sorted([*kept, *fresh], key=lambda p: (p.row_start, p.span.span_key))
    lacking = partial(ledger.missing, placements, layout=layout)
    units_of = partial(
        make_units,
        placements,
        survey.frame_sources,
        survey.boxes,
        layout=layout,
        max_slots=recipe.units.slots,
        num_workers=num_workers,
    )
    units = units_of(missing=lacking([name for name in products if name not in apart]))
    plan = Plan(
        placements=tuple(placements),
        new=tuple(sorted(fresh, key=lambda p: (p.row_start, p.span.span_key))),
        units=units,
        num_slots=num_slots,
        layout=layout,
        surplus=frozenset(beyond),
        apart=in_turn(units_of(missing=lacking([name for name in products if name in apart])), units, layout),
    )
    return plan, {key: number for key, number in numbers.items() if key not in ledger.tracks}


def plan_from_pixels(
    ledger: Ledger, recipe: Recipe, products: Mapping[str, Product], *, num_workers: int
) -> tuple[Survey, Plan]:
    """Return what the products lack on stored pixels; neither corpus nor videos are looked at."""
    layout = recipe.layout
    placements = [p for p in ledger.placements.values() if p.span.num_rows and ledger.complete(p, (PIXELS,), layout)]
    videos = {p.span.video_id: ledger.videos[p.span.video_id] for p in placements}
    nowhere = Source(uri="/", size=0, version="")
    sources = {video_id: frame_source([nowhere], video, {}) for video_id, video in videos.items()}
    survey = Survey(sources=(), videos=videos, indexes={}, wanted={}, frame_sources=sources, unmatched={})
    plan = Plan(
        placements=tuple(sorted(placements, key=lambda p: (p.row_start, p.span.span_key))),
        new=(),
        units=make_units(
            placements,
            sources,
            dict.fromkeys({p.span.track_id for p in placements}),
            ledger.missing(placements, products, layout),
            layout,
            max_slots=recipe.units.slots,
            num_workers=num_workers,
        ),
        num_slots=ledger.first_free_slot,
        layout=layout,
    )
    return survey, plan


def clips_by_span(survey: Survey, plan: Plan) -> dict[str, list[Clip]]:
    """Return the clips that lie in each span, as far as they are known; a span of surplus frames is a clip itself."""
    found: dict[str, list[Clip]] = {}
    for placement in plan.placements:
        span = placement.span
        if (wanted := survey.wanted.get(span.track_id)) is None:
            continue
        start, stop = span.start_seconds, span.stop_seconds
        if span.span_key in plan.surplus:
            around = next((c for c in wanted.clips if c.start_seconds <= start < c.stop_seconds), None)
            part = Part(start, stop) if around is None else Part(start, stop, around.label, around.targets)
            found[span.span_key] = [] if wanted.grown else [cut.clip_of(wanted.track, start, stop, part)]
        else:
            found[span.span_key] = [c for c in wanted.clips if start <= c.start_seconds and c.stop_seconds <= stop]
    return found


def _loads(new: Iterable[Span]) -> list[Load]:
    """Return what to pack: spans of several tracks of one video that overlap in time lie together."""
    found: list[list[Span]] = []
    last: dict[str, list[Span]] = {}
    for span in new:
        home = last.get(span.video_id, [])
        is_other = all(other.track_id != span.track_id for other in home)
        meets = any(s.start_seconds < span.stop_seconds and span.start_seconds < s.stop_seconds for s in home)
        if not (is_other and meets):
            home = last[span.video_id] = []
            found.append(home)
        home.append(span)
    return [Load(tuple((span.span_key, span.num_rows) for span in group)) for group in found]


def verdicts(
    survey: Survey,
    plan: Plan,
    ledger: Ledger,
    products: Iterable[str],
    failures: Iterable[Mapping[str, Any]],
    *,
    lost: Mapping[str, str],
) -> list[tuple[Source, str | None]]:
    """Return every source with its verdict: by what is committed, and by the rows of `failures`.

    `lost`: video_id -> message, where a unit ended with its worker again and again in this run.
    """
    names = tuple(products)
    open_videos = {p.span.video_id for p in plan.placements if not ledger.complete(p, names, plan.layout)}
    num_rows: dict[str, int] = {}
    for placement in plan.placements:
        num_rows[placement.span.video_id] = num_rows.get(placement.span.video_id, 0) + placement.span.num_rows
    spans_now = {placement.span.span_key: placement for placement in plan.placements}
    failed: dict[str, Mapping[str, Any]] = {}
    for row in sorted(failures, key=lambda row: row["reason"] == "count_grew"):  # no loss: said where nothing else is
        now = spans_now.get(row["span_key"])
        if now is not None and now.row_start <= row["row_start"] < now.row_stop:
            failed.setdefault(row["video_id"], row)
            num_rows[row["video_id"]] -= max(0, row["num_rows_planned"] - row["num_rows"])
    wanted_videos = {wanted.track.video_id for wanted in survey.wanted.values() if wanted.ranges}
    judged = []
    for source, video_id in survey.sources:
        if source.status in ("ok", "partial") and video_id is not None:
            if video_id in lost:
                source = replace(source, status="failed", reason="crash", message=lost[video_id])
            elif video_id not in wanted_videos:
                source = replace(source, status="skipped", message="no box or event of it is asked for")
            elif video_id in open_videos:
                source = replace(source, status="skipped", message=source.message or "not in the lake yet")
            elif video_id in failed:
                reason = failed[video_id]["reason"]
                status: Status = "failed" if reason in OURS else "rejected"
                status = "partial" if num_rows[video_id] else status
                status = "ok" if reason == "count_grew" else status
                source = replace(source, status=status, reason=reason, message=failed[video_id]["message"])
            elif not num_rows.get(video_id):
                source = replace(source, status="rejected", reason="no_frames", message="no frame lies in its clips")
        judged.append((source, video_id))
    return judged
