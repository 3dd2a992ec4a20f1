"""What the units of a run need to know about its dataset."""

from __future__ import annotations

from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.unit.worker_state import Job


def job_of(dataset: Dataset, key: str) -> Job:
    """Return what all units of a run share; `key` is the run's id."""
    recipe = dataset.recipe
    return Job(
        key=key,
        lake=dataset.lake,
        layout=recipe.layout,
        frames=recipe.frames.grid,
        patches=recipe.patches.grid,
        entries=tuple(entry for entry in recipe.features if entry.name in dataset.products),
        products=dict(dataset.products),
        filters=recipe.frames.filters,
    )
