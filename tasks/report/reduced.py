"""Pictures of reductions: each reduction draws its own from its result and a few cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlake.tasks import reductions
from patchlake.tasks.canvas import Picture
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.reductions import store
from patchlake.tasks.reductions.reduction import SampledCells
from patchlake.tasks.report.sample import SEED, ClipView, Feature, open_feature, pick_clips
from patchlake.tasks.storage.location import Location

MAX_CLIPS = 64
MAX_POINTS = 3000
CELLS_A_CLIP = 256


def reduction_pictures(lake: Location, tables: Tables, recipe: Recipe) -> dict[str, dict[str, Picture | None]]:
    """Return heading -> name of a reduction -> its picture, None if there is nothing to show."""
    clips = pick_clips(tables, MAX_CLIPS, min_rows=recipe.patches.size[0]) if recipe.reduce else []
    found: dict[str, dict[str, Picture | None]] = {}
    for options in recipe.reduce:
        reduction = reductions.build(options)
        feature, result = open_feature(lake, options.product), store.read(lake, options.name)
        picture = None
        if feature is not None and result is not None:
            picture = reduction.picture(result, SampledCells(options.product, *sample_cells(feature, clips)))
        found.setdefault(reduction.heading, {})[options.name] = picture
    return found


def sample_cells(feature: Feature, clips: Sequence[ClipView]) -> tuple[np.ndarray, list[str | None]]:
    """Return cells (n, channel) of a few rows of each clip, at most MAX_POINTS, and their clips' labels."""
    rng = np.random.default_rng(SEED)
    parts: list[np.ndarray] = []
    labels: list[str | None] = []
    for clip in clips:
        rows, _ = feature.rows_of(clip)
        if not len(rows):
            continue
        count = min(len(rows), max(1, CELLS_A_CLIP // (len(feature.y) * len(feature.x))))
        first = int(rows[(len(rows) - count) // 2])
        block = np.asarray(feature.values[first : first + count], np.float64)
        cells = block.reshape(-1, len(feature.channels))
        kept = rng.permutation(len(cells))[: max(1, MAX_POINTS // len(clips))]
        parts.append(cells[kept])
        labels += [clip.label] * len(kept)
    return (np.concatenate(parts) if parts else np.empty((0, len(feature.channels)))), labels
