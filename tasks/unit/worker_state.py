"""State that a worker keeps from unit to unit: extractors with their models, shard writers, memory for one slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchlake.tasks import features, filters
from patchlake.tasks.features.extractor import Extractor
from patchlake.tasks.grid import Grid, Layout
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.shards import ShardWriter
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import FrameGrid


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all units of a run share; it is sent with each unit."""

    key: str
    """Identifies the run: a worker builds its extractors and writers once per run."""
    lake: Location
    layout: Layout
    frames: FrameGrid
    patches: Grid
    entries: tuple[Any, ...]
    """The recipe's features."""
    products: dict[str, Product]
    filters: tuple[Any, ...] = ()
    """The recipe's frame filters."""


class WorkerState:
    """What a worker process keeps for the units of one job."""

    def __init__(self, job: Job, kept: Mapping[Any, Extractor]) -> None:
        """`kept`: extractors of the previous job, by what they were built from; those needed again are reused."""
        self.built: dict[Any, Extractor] = {}
        self.extractors: dict[str, Extractor] = {}
        for entry in job.entries:
            digest = job.products[entry.name].digest  # covers the model's bytes
            key = repr(entry), job.patches, job.frames.size, digest
            extractor = kept.get(key) or features.build(entry, patches=job.patches, frame_size=job.frames.size)
            self.built[key] = self.extractors[entry.name] = extractor
        self.filters = filters.build_all(job.filters, job.frames.size)
        self._job = job
        self._writers: dict[str, ShardWriter] = {}
        self.slot = np.zeros((job.layout.slot_frames, *job.frames.size, 3), dtype=np.uint8)
        """Pixels of the current slot."""

    def writer(self, product: str) -> ShardWriter:
        """Return the product's writer; its array must exist."""
        if product not in self._writers:
            self._writers[product] = ShardWriter(self._job.lake, self._job.products[product])
        return self._writers[product]


_state: tuple[str, WorkerState] | None = None


def worker_state_of(job: Job) -> WorkerState:
    """Return this process's state for a job; of the previous job only extractors that this one needs are kept."""
    global _state
    if _state is None or _state[0] != job.key:
        _state = (job.key, WorkerState(job, _state[1].built if _state else {}))
    return _state[1]
