"""Planning: what to store and where, as a value that is recorded before any work."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from patchlake.tasks.clips import cut, spans
from patchlake.tasks.clips.method import Part
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers, deferred_products
from patchlake.tasks.plan.pack import Load, pack
from patchlake.tasks.plan.survey import Survey, frame_source
from patchlake.tasks.plan.units import Plan, in_turn, make_units
from patchlake.tasks.plan.wanted import span_keys
from patchlake.tasks.types import PIXELS, Clip, Placement, Source, Span


def make_plan(dataset: Dataset, survey: Survey, workers: Workers) -> Plan:
    """Return the plan that brings the dataset up to date with a survey, for the given workers.

    Spans already placed in the ledger stay where they are; new ones are packed behind them.
    """
    ledger, layout, products = dataset.ledger, dataset.layout, dataset.products
    numbers = dict(ledger.tracks)
    kept, new = _wanted_spans(dataset, survey, numbers)
    beyond = _surplus_spans(dataset, survey, kept)
    kept += [ledger.placements[key] for key in beyond if key in ledger.placements]
    new |= {key: span for key, span in beyond.items() if key not in ledger.placements}
    placed, num_slots = pack(_loads(new.values()), layout, first_slot=ledger.first_free_slot)
    fresh = [Placement(span=s, track=numbers[s.track_id], row_start=placed[key]) for key, s in new.items()]
    placements = sorted([*kept, *fresh], key=_by_row)
    deferred = deferred_products(dataset, workers)
    lacking = partial(ledger.missing, placements, layout=layout)
    units_of = partial(
        make_units,
        placements,
        survey.frame_sources,
        survey.boxes,
        layout=layout,
        max_slots=dataset.recipe.units.slots,
        num_workers=workers.total,
    )
    units = units_of(missing=lacking([name for name in products if name not in deferred]))
    later = units_of(missing=lacking([name for name in products if name in deferred]))
    return Plan(
        placements=tuple(placements),
        new=tuple(sorted(fresh, key=_by_row)),
        units=units,
        num_slots=num_slots,
        layout=layout,
        surplus=frozenset(beyond),
        deferred=in_turn(later, units, layout),
        new_tracks={key: number for key, number in numbers.items() if key not in ledger.tracks},
    )


def plan_from_pixels(dataset: Dataset, workers: Workers) -> tuple[Survey, Plan]:
    """Return the plan that computes missing products from stored pixels; neither corpus nor videos are read."""
    ledger, layout = dataset.ledger, dataset.layout
    placements = [p for p in ledger.placements.values() if p.span.num_rows and ledger.complete(p, (PIXELS,), layout)]
    videos = {p.span.video_id: ledger.videos[p.span.video_id] for p in placements}
    nowhere = Source(uri="/", size=0, version="")
    sources = {video_id: frame_source([nowhere], video, {}) for video_id, video in videos.items()}
    survey = Survey(sources=(), videos=videos, indexes={}, wanted={}, frame_sources=sources, unmatched={})
    units = make_units(
        placements,
        sources,
        dict.fromkeys({p.span.track_id for p in placements}),
        ledger.missing(placements, dataset.products, layout),
        layout,
        max_slots=dataset.recipe.units.slots,
        num_workers=workers.total,
    )
    ordered = tuple(sorted(placements, key=_by_row))
    return survey, Plan(placements=ordered, new=(), units=units, num_slots=ledger.first_free_slot, layout=layout)


def clips_by_span(survey: Survey, plan: Plan) -> dict[str, list[Clip]]:
    """Return span_key -> its clips known so far; a span of surplus frames is a clip itself."""
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


def _wanted_spans(dataset: Dataset, survey: Survey, numbers: dict[str, int]) -> tuple[list[Placement], dict[str, Span]]:
    """Return the wanted spans that have a placement, and the others by key; tracks without a number get one."""
    recipe, placements, frames = dataset.recipe, dataset.ledger.placements, dataset.frames_key
    kept: list[Placement] = []
    new: dict[str, Span] = {}
    for track_id, wanted in survey.wanted.items():
        video = survey.videos[wanted.track.video_id]
        for key, start, stop in span_keys(wanted, frames):
            numbers.setdefault(track_id, len(numbers))
            if key in placements:
                kept.append(placements[key])
                continue
            new[key] = spans.span_of(
                wanted.track,
                video,
                survey.indexes[video.video_id],
                start_seconds=start,
                stop_seconds=stop,
                fps=recipe.frames.rate,
                frames=frames,
            )
    return kept, new


def _surplus_spans(dataset: Dataset, survey: Survey, placements: Iterable[Placement]) -> dict[str, Span]:
    """Return, by key, the spans of frames that decoding gave beyond those that the packets listed."""
    found, frames = {}, dataset.frames_key
    for placement in placements:
        for row, surplus in dataset.ledger.surplus.get(placement.span.span_key, ()):
            track = survey.wanted[placement.span.track_id].track
            video = survey.videos[track.video_id]
            span = spans.surplus_of(placement.span, track, surplus, video=video, row=row, frames=frames)
            found[span.span_key] = span
    return found


def _by_row(placement: Placement) -> tuple[int, str]:
    return placement.row_start, placement.span.span_key


def _loads(new: Iterable[Span]) -> list[Load]:
    """Return the loads to pack: spans of several tracks of one video that overlap in time are placed together."""
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
