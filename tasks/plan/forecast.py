"""What a run would do, estimated before anything runs: the plan as figures, and why anything is recomputed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from patchlake.tasks import tracks
from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.product import Product
from patchlake.tasks.plan import rates
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan, slots_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import PIXELS, Source

Change = tuple[str, Any, Any]
"""(part of a key, old value, new value)."""


@dataclass(frozen=True, kw_only=True)
class ProductForecast:
    """What a run would do for one product."""

    name: str
    slots_reused: int
    slots_new: int
    slots_redone: int
    """Committed under another key: dropped, then recomputed from stored pixels."""
    changes: tuple[Change, ...]
    """Parts of its key that differ from the lake's."""
    bytes_raw: int
    """Bytes of the slots to write, before compression."""
    bytes_expected: int | None
    """Bytes on disk, estimated from the product's committed slots; None: there are none yet."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A plan as figures."""

    lake: str
    sources: dict[str, int]
    """Status -> number of sources."""
    reasons: dict[str, int]
    unmatched: dict[str, int]
    """Boxes or events file -> how many of its names match no source."""
    left_out: Mapping[str, Mapping[str, int]]
    """File of events -> why -> how many of its rows give no clip."""
    tracks: int
    clips: int
    """Clips known before decoding; those of `shots` and `scores` are found later."""
    spans_reused: int
    spans_new: int
    units: int
    slots: int
    rows: int
    padding: float
    """Share of the rows to write that are padding."""
    video_hours: float
    """Duration of the spans to decode."""
    work_hours: float | None
    """At the rate of the lake's last run; None: no rate known yet."""
    area_lost: float
    """Share of the boxes' source pixels that `fit: crop` cuts off, mean over the tracks; 0 otherwise."""
    area_black: float
    """Share of the frame grid that `fit: letterbox` leaves black."""
    products: tuple[ProductForecast, ...]
    differences: tuple[str, ...]
    """Sentences: how recipe and corpus differ from the lake, and so what is recomputed, added or left alone."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def forecast(dataset: Dataset, survey: Survey, plan: Plan) -> Forecast:
    """Return what a plan would do; times and sizes are estimated from the lake's earlier runs."""
    recipe, ledger = dataset.recipe, dataset.ledger
    lost, black = _areas(survey, recipe)
    decoded = [unit for unit in plan.units if PIXELS in unit.products or not recipe.frames.keep]
    new = {p.span.span_key for p in plan.new}
    judged = [source for source, _ in survey.sources]
    rate, sizes = rates.frames_per_second(dataset.tables), rates.bytes_per_slot(dataset.tables)
    found = tuple(_product(dataset, product, plan, sizes.get(name)) for name, product in dataset.products.items())
    return Forecast(
        lake=str(dataset.lake),
        sources=dict(sorted(Counter(source.status for source in judged).items())),
        reasons=dict(sorted(Counter(source.reason for source in judged if source.reason).items())),
        unmatched=dict(survey.unmatched),
        left_out=survey.left_out,
        tracks=len(survey.wanted),
        clips=sum(len(wanted.clips) for wanted in survey.wanted.values()),
        spans_reused=len(plan.placements) - len(new),
        spans_new=len(new),
        units=len(plan.all_units),
        slots=plan.num_slots_written,
        rows=plan.num_new_rows,
        padding=plan.padding,
        video_hours=sum(p.span.stop_seconds - p.span.start_seconds for p in plan.new) / 3600,
        work_hours=None if rate is None else sum(u.num_rows for u in decoded) / rate / 3600,
        area_lost=lost,
        area_black=black,
        products=found,
        differences=(*_source_differences(judged, ledger, plan, survey), *_product_differences(found)),
    )


def _areas(survey: Survey, recipe: Recipe) -> tuple[float, float]:
    """Return the mean share of source area that is cut off, and of grid area that is black."""
    grid, lost, black = recipe.frames.grid, 0.0, 0.0
    for wanted in survey.wanted.values():
        source, path = survey.frame_sources[wanted.track.video_id], wanted.track.boxes
        fitted = tracks.geometry_at(path, 0.0, source, size=grid.size, fit=grid.fit)
        whole = tracks.geometry_at(path, 0.0, source, size=grid.size, fit="stretch")
        lost += 1 - fitted.crop[2] * fitted.crop[3] / (whole.crop[2] * whole.crop[3])
        black += 1 - fitted.scaled[0] * fitted.scaled[1] / (grid.size[0] * grid.size[1])
    count = max(1, len(survey.wanted))
    return lost / count, black / count


def _product(dataset: Dataset, product: Product, plan: Plan, bytes_per_slot: float | None) -> ProductForecast:
    ledger = dataset.ledger
    wanted = {slot for p in plan.placements for slot in slots_of(p, plan.layout)}
    todo = {slot for unit in plan.all_units if product.name in unit.products for slot in unit.slots}
    redone = {slot for slot in todo if slot in ledger.written} if product.name in ledger.stale else set()
    stored = arrays.product_attrs(dataset.lake, product.name) or {}
    changes = tuple(differences(stored["product_key"], product.key)) if "product_key" in stored else ()
    return ProductForecast(
        name=product.name,
        slots_reused=len(wanted - todo),
        slots_new=len(todo - redone),
        slots_redone=len(redone),
        changes=changes,
        bytes_raw=len(todo) * product.slot_bytes,
        bytes_expected=None if bytes_per_slot is None else round(len(todo) * bytes_per_slot),
    )


def differences(before: Any, after: Any, where: str = "") -> Iterable[Change]:
    """Yield the leaves in which two JSON-like values differ, as (dotted path, before, after).

    >>> list(differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1]}))
    [('a.b', 1, 2)]
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from differences(before.get(key), after.get(key), f"{where}.{key}" if where else str(key))
    elif _plain(before) != _plain(after):
        yield (where, _plain(before), _plain(after))


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _product_differences(products: Sequence[ProductForecast]) -> Iterable[str]:
    for product in products:
        changed = ", ".join(f"{where} {before} -> {after}" for where, before, after in product.changes)
        if product.changes:
            yield f"{product.name}: {product.slots_redone} slots redone from stored pixels, as {changed}"
        elif product.slots_new and product.slots_reused:
            yield f"{product.name}: {product.slots_new} slots new, {product.slots_reused} as they are"


def _source_differences(judged: Sequence[Source], ledger: Ledger, plan: Plan, survey: Survey) -> Iterable[str]:
    """Yield sentences on how the corpus and the requested tracks and clips differ from the lake."""
    before = {uri: (size, version) for uri, size, version in ledger.sources}
    now = {source.uri: (source.size, source.version) for source in judged}
    counts = {
        "new": sum(uri not in before for uri in now),
        "changed": sum(uri in before and before[uri] != content for uri, content in now.items()),
        "gone (their rows stay)": sum(uri not in now for uri in before),
    }
    if before:
        yield from (f"sources: {count} {what}" for what, count in counts.items() if count)
    videos_before = {p.span.video_id for p in ledger.placements.values()}
    why: Counter[str] = Counter()
    for placement in plan.new:
        if placement.span.span_key in plan.surplus:
            why["frames that packets had not promised"] += 1
        elif placement.span.video_id not in videos_before:
            why["new videos"] += 1
        elif placement.span.track_id not in ledger.tracks:
            why["other boxes of known videos (tracks)"] += 1
        else:
            why["other times of known tracks (clips)"] += 1
    if before:
        yield from (f"spans: {count} to decode: {what}" for what, count in why.items())
