"""A job that only the order of frames tells apart: a bright bar that walks right or left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.training.job import TrainJob


def clip(source: int, target: float, *, test: bool = True, rows: tuple[int, int] = (0, 8)) -> ClipRows:
    return ClipRows(row_start=rows[0], row_stop=rows[1], target=target, source=source, test=test)


def toy_job(folder: Path, *, num_sources: int = 24, **options: Any) -> TrainJob:
    """Make clips of 8 frames of 16x16 in which a bright bar walks right (0) or left (1) from any column."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 60, (num_sources * 8, 16, 16, 3), dtype=np.uint8)
    clips = []
    for source in range(num_sources):
        first, label = int(rng.integers(16)), source % 2
        for t in range(8):
            column = (first + (t if label == 0 else -t) * 2) % 16
            frames[source * 8 + t, :, [column, (column + 1) % 16]] += 150
        rows = (source * 8, source * 8 + 8)
        clips.append(clip(source, label, test=source % 4 >= 2, rows=rows))
    array = zarr.create_array(folder / "pixels", shape=frames.shape, chunks=(8, 16, 16, 3), dtype="u1")
    array[:] = frames
    return TrainJob(
        pixels=str(folder / "pixels"),
        clips=tuple(clips),
        outputs=("right", "left"),
        options={"window_frames": 8, "batch_size": 5} | options,
        folder=str(folder / "models"),
        variants=("st_cnn",),
    )
