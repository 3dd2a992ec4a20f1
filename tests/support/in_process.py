"""A recipe brought into its lake in this very process: the real functions, without Prefect, Dask or a cluster."""

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
from patchlake.tasks.lake import arrays, create
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.given import found_boxes, read_given
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.planner import make_plan
from patchlake.tasks.plan.survey import Survey, survey, to_probe
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import UnitResult
from patchlake.tasks.unit import worker_setup
from patchlake.tasks.unit.commit import Committer
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.job import job_of
from patchlake.tasks.unit.record import record
from patchlake.tasks.unit.settle import settle
from patchlake.tasks.video.probe import Probed, probe_source

BASE = {"name": "x", "lake": "lake", "frames": {"size": [48, 64]}, "units": {"slot_frames": 32, "slots": 2}}


def open_dataset(folder: Path, recipe: Mapping[str, Any], guard: Callable[[], None] | None = None) -> Dataset:
    """Return a small recipe on its lake under a folder; the lake is made if there is none.

    `guard` is called before each commit to a table.
    """
    worker_setup.setup()
    dataset = Dataset.open(recipes.parse({**BASE, **recipe}, base=folder), guard)
    create.make_dataset(dataset.lake, {})
    return dataset


def survey_of(dataset: Dataset, mend: Callable[[Probed], Probed] = lambda probed: probed) -> Survey:
    """Discover and probe; `mend` changes what probing said."""
    sources = discover(dataset.recipe.corpus)
    given = read_given(dataset.recipe, sources, found_boxes(dataset))
    probed: dict[str, Probed] = {}
    while wanted := to_probe(dataset, sources, given, probed):
        probed |= {source.uri: mend(probe_source(source)) for source in wanted}
    return survey(dataset, sources, probed, given)


def run_units(dataset: Dataset, found: Survey, plan: Plan) -> tuple[UnitResult, ...]:
    """Do what workers and coordinator do with a recorded plan."""
    job, committer = job_of(dataset, uuid.uuid4().hex), Committer(dataset, found, plan)
    results = tuple(extract_unit(job, unit) for unit in plan.all_units)
    for result in results:
        committer.add(result)
    committer.flush()
    return results


@dataclass(frozen=True)
class Ingested:
    """One pass over a recipe."""

    dataset: Dataset
    survey: Survey
    plan: Plan
    results: tuple[UnitResult, ...]

    @property
    def lake(self) -> Location:
        return self.dataset.lake

    @property
    def tables(self) -> Tables:
        return self.dataset.tables

    @property
    def ledger(self) -> Ledger:
        return self.dataset.ledger

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
    folder: Path,
    recipe: Mapping[str, Any],
    *,
    num_workers: int = 1,
    mend: Callable[[Probed], Probed] = lambda p: p,
    guard: Callable[[], None] | None = None,
) -> Ingested:
    """Discover, probe, plan, record, extract, commit and settle.

    `mend` changes what probing said; `guard` is called before each commit to a table.
    """
    dataset = open_dataset(folder, recipe, guard)
    found = survey_of(dataset, mend)
    plan = make_plan(dataset, found, Workers(total=num_workers))
    record(dataset, found, plan)
    results = run_units(dataset, found, plan)
    settle(dataset, found, plan)
    return Ingested(dataset, found, plan, results)
