"""Planning: discovered sources, what the lake holds, and probes, joined into what is to be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from patchlake.tasks import clips, keys, spans, tracks
from patchlake.tasks.ledger import Ledger
from patchlake.tasks.pack import pack
from patchlake.tasks.plan import Plan, make_units
from patchlake.tasks.probe import Probed
from patchlake.tasks.product import Product
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import Clip, FrameIndex, FrameSource, Placement, Source, Span, Status, Track, Video

RETRIED = ("timeout", "memory", "crash")
"""Reasons that may lie in the machine and not in the file: a re-run tries such sources again."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known of the corpus: every source with its verdict so far, and the videos behind them."""

    sources: tuple[tuple[Source, str | None], ...]
    """In uri order, with the video each holds; status ok means: to be stored, or stored."""
    videos: dict[str, Video]
    indexes: dict[str, FrameIndex]
    """Of the videos probed in this run."""
    wanted: dict[str, tuple[Track, list[Clip]]]
    """video_id -> its track and clips, labelled by the first source that holds the video, in uri order."""
    frame_sources: dict[str, FrameSource]
    """video_id -> what workers need to put its frames on the frame grid."""


def to_probe(sources: Sequence[Source], ledger: Ledger, recipe: Recipe) -> list[Source]:
    """Return the sources whose content, or whose frames' times, must be looked up before planning."""
    found = []
    for source in sources:
        if source.status != "ok":
            continue
        known = _known(source, ledger)
        if known is None:
            found.append(source)
        elif known[1] in ledger.videos:
            video = ledger.videos[known[1]]  # type: ignore[index]
            if any(key not in ledger.placements for key in _span_keys(video, recipe)):
                found.append(source)
    return found


def _known(source: Source, ledger: Ledger) -> tuple[Source, str | None] | None:
    """Return an earlier verdict on the same bytes, unless it is worth another try."""
    known = ledger.sources.get((source.uri, source.size, source.version))
    if known is None or (known[0].reason in RETRIED and known[1] is None):
        return None
    return known


def survey(sources: Sequence[Source], probed: Mapping[str, Probed], ledger: Ledger, recipe: Recipe) -> Survey:
    """Join discovered sources with probes of this run (by uri) and verdicts of earlier ones."""
    judged: list[tuple[Source, str | None]] = []
    videos, indexes = dict(ledger.videos), {}
    canonical: dict[str, Source] = {}
    for source in sources:
        video_id: str | None = None
        if source.status == "ok" and (probe := probed.get(source.uri)) is not None:
            source = replace(
                source, status=probe.source.status, reason=probe.source.reason, message=probe.source.message
            )
            if probe.video is not None and probe.index is not None:
                video_id = probe.video.video_id
                videos[video_id], indexes[video_id] = probe.video, probe.index
        elif source.status == "ok" and (known := _known(source, ledger)) is not None:
            before, video_id = known
            if video_id is None:  # never became a video: the earlier verdict stands
                source = replace(source, status=before.status, reason=before.reason, message=before.message)
            elif before.reason is not None and before.status in ("partial", "skipped"):
                source = replace(source, status="partial", reason=before.reason, message=before.message)
        if source.status in ("ok", "partial") and video_id is not None:
            if video_id in canonical:
                message = f"same content as {canonical[video_id].uri}"
                source = replace(source, status="duplicate", message=message)
            else:
                canonical[video_id] = source
        judged.append((source, video_id))
    tracked = {video_id: tracks.whole_frame(videos[video_id]) for video_id in canonical}
    return Survey(
        sources=tuple(judged),
        videos=videos,
        indexes=indexes,
        wanted={
            video_id: (
                track,
                clips.cut(track, videos[video_id], recipe.clips, label=canonical[video_id].label),
            )
            for video_id, track in tracked.items()
        },
        frame_sources={
            video_id: _frame_source(source, videos[video_id], recipe) for video_id, source in canonical.items()
        },
    )


def _frame_source(source: Source, video: Video, recipe: Recipe) -> FrameSource:
    return FrameSource(
        video_id=video.video_id,
        uri=source.uri,
        source_size=(video.height, video.width),
        geometry=tracks.fit_frame(video, size=recipe.frames.size, fit=recipe.frames.fit),
        time_base=video.time_base,
        first_pts=video.first_pts,
        counted=video.counted,
    )


def _span_keys(video: Video, recipe: Recipe) -> list[str]:
    cut = clips.cut(tracks.whole_frame(video), video, recipe.clips, label=None)
    frames = recipe.frames.key()
    return [keys.span_key(video.video_id, None, start, stop, frames) for start, stop in spans.union(cut)]


def make_plan(
    survey: Survey,
    ledger: Ledger,
    recipe: Recipe,
    products: Mapping[str, Product],
    *,
    num_workers: int,
) -> tuple[Plan, dict[str, int]]:
    """Return the plan, and the numbers of tracks that it is the first to use (track_id -> number)."""
    layout, frames = recipe.layout, recipe.frames.key()
    numbers = dict(ledger.tracks)
    found: list[tuple[str, int]] = []
    new: dict[str, Span] = {}
    kept: list[Placement] = []
    for video_id, (track, video_clips) in survey.wanted.items():
        numbers.setdefault(track.track_id, len(numbers))
        for start, stop in spans.union(video_clips):
            key = keys.span_key(video_id, track.box, start, stop, frames)
            if key in ledger.placements:
                kept.append(ledger.placements[key])
                continue
            span = spans.span_of(
                track,
                survey.videos[video_id],
                survey.indexes[video_id],
                start_seconds=start,
                stop_seconds=stop,
                fps=recipe.frames.rate,
                frames=frames,
            )
            new[key] = span
            found.append((key, span.num_rows))
    placed, num_slots = pack(found, layout, first_slot=ledger.first_free_slot)
    fresh = [Placement(span=s, track=numbers[s.track_id], row_start=placed[key]) for key, s in new.items()]
    placements = sorted([*kept, *fresh], key=lambda p: (p.row_start, p.span.span_key))
    plan = Plan(
        placements=tuple(placements),
        new=tuple(sorted(fresh, key=lambda p: (p.row_start, p.span.span_key))),
        units=make_units(
            placements,
            survey.frame_sources,
            ledger.missing(placements, products, layout),
            layout,
            max_slots=recipe.units.slots,
            num_workers=num_workers,
        ),
        num_slots=num_slots,
        layout=layout,
    )
    return plan, {key: number for key, number in numbers.items() if key not in ledger.tracks}


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
    spans_now = {placement.span.span_key for placement in plan.placements}
    failed: dict[str, Mapping[str, Any]] = {}
    for row in failures:
        if row["span_key"] in spans_now:
            failed.setdefault(row["video_id"], row)
            num_rows[row["video_id"]] -= max(0, row["num_rows_planned"] - row["num_rows"])
    judged = []
    for source, video_id in survey.sources:
        if source.status in ("ok", "partial") and video_id is not None:
            if video_id in lost:
                source = replace(source, status="failed", reason="crash", message=lost[video_id])
            elif video_id in open_videos:
                source = replace(source, status="skipped", message=source.message or "not in the lake yet")
            elif video_id in failed:
                reason = failed[video_id]["reason"]
                status: Status = "failed" if reason in RETRIED else "rejected"
                status = "partial" if num_rows[video_id] else status
                source = replace(source, status=status, reason=reason, message=failed[video_id]["message"])
            elif not num_rows.get(video_id):
                source = replace(source, status="rejected", reason="no_frames", message="no frame lies in its clips")
        judged.append((source, video_id))
    return judged
