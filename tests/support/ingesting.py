"""A recipe brought into a lake in this very process, without cluster or server: what workers and coordinator do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks import recipe as recipes
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.lake import arrays, create, schema
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan import survey as planning
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.products import extractors_of, products_of
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import UnitResult
from patchlake.tasks.unit import worker_setup
from patchlake.tasks.unit.commit import Committer, Context
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.worker_state import Job
from patchlake.tasks.video.probe import Probed, probe_source


@dataclass(frozen=True)
class Ingested:
    """One pass over a recipe."""

    lake: Location
    tables: Tables
    ledger: Ledger
    survey: Survey
    plan: Plan
    results: tuple[UnitResult, ...]

    @property
    def num_decoded(self) -> int:
        return sum(result.num_decoded for result in self.results)

    @property
    def num_redecoded(self) -> int:
        return sum(result.num_redecoded for result in self.results)

    def array(self, name: str) -> npt.NDArray[Any]:
        return np.asarray(arrays.open_array(self.lake, name)[:])

    def track_rows(self, name: str, product: str = "pixels") -> npt.NDArray[np.int64]:
        """Return the rows of the track of a box, or of a video, in order."""
        tracks = {t["name"] or t["video_id"]: t["track"] for t in self.tables.tracks.rows()}
        return np.flatnonzero(self.array(f"{product}/track") == tracks[name])


def ingest(
    folder: Path, recipe: Mapping[str, Any], *, num_workers: int = 1, mend: Callable[[Probed], Probed] = lambda p: p
) -> Ingested:
    """Discover, probe, plan, extract and commit; `mend` changes what probing told."""
    worker_setup.setup()
    base = {"name": "x", "lake": "lake", "frames": {"size": [48, 64]}, "units": {"slot_frames": 32, "slots": 2}}
    wanted = recipes.parse({**base, **recipe}, base=folder)
    extractors = extractors_of(wanted)
    products = products_of(wanted, extractors)
    lake = Location(wanted.lake) / wanted.name
    create.make_dataset(lake, {})
    tables = Tables(lake)
    ledger = Ledger.read(tables, products, wanted.layout)
    sources = discover(wanted.corpus)
    given = planning.read_given(wanted, sources)
    probed = {s.uri: mend(probe_source(s)) for s in planning.to_probe(sources, ledger, wanted, given)}
    survey = planning.survey(sources, probed, ledger, wanted, given)
    plan, numbers = planning.make_plan(survey, ledger, wanted, products, num_workers=num_workers)
    new = [(number, survey.wanted[key].track) for key, number in sorted(numbers.items(), key=lambda item: item[1])]
    tables.sources.overwrite(schema.source_row(source, video_id) for source, video_id in survey.sources)
    tables.videos.append(schema.video_row(v) for k, v in survey.videos.items() if k not in ledger.videos)
    tables.tracks.append(schema.track_row(number, track, None) for number, track in new)
    tables.spans.append(schema.placement_row(p) for p in plan.new)
    ledger.placements |= {p.span.span_key: p for p in plan.new}
    create.ensure_arrays(lake, products.values(), with_pts=wanted.frames.rate is not None)
    create.grow(lake, max(plan.num_slots, ledger.first_free_slot), slot_frames=wanted.layout.slot_frames)
    job = Job(
        key=uuid.uuid4().hex, lake=lake, layout=wanted.layout, frames=wanted.frames.grid, patches=wanted.patches.grid,
        entries=wanted.features, products=products, filters=wanted.frames.filters,
    )  # fmt: skip
    context = Context(
        lake=lake, tables=tables, ledger=ledger, products=products, placements=ledger.placements,
        sources=survey.frame_sources, fps=wanted.frames.rate, clips=planning.clips_by_span(survey, plan),
    )  # fmt: skip
    committer = Committer(plan, context)
    results = tuple(extract_unit(job, unit) for unit in plan.units)
    for result in results:
        committer.add(result)
    committer.flush()
    return Ingested(lake, tables, ledger, survey, plan, results)
