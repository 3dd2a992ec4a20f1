"""From a lake's tables to a training job: which clips are learnt from, which judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchlake.tasks.keys import hash01
from patchlake.tasks.lake.layout import ARRAYS, values_path
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.training.job import ClipRows, TrainJob
from patchlake.tasks.training.options import TrainSpec
from patchlake.tasks.types import PIXELS


def train_job(lake: Location, tables: Tables, spec: TrainSpec, *, folder: str) -> TrainJob:
    """Return the job of the lake's labelled clips, in track and time order.

    A clip is on its source's side: the side that the corpus gives, else test where hash01(group) < test_fraction; the
    group of a source that names none is its video, so that a video is never on both sides.
    """
    sources = {}
    for row in tables.sources.rows(["video_id", "split", "group", "status"]):
        if row["video_id"] is not None and row["status"] in ("ok", "partial"):
            sources[row["video_id"]] = row
    clips = [
        row for row in tables.clips.rows()
        if row["label"] is not None and row["row_stop"] > row["row_start"] and row["video_id"] in sources
    ]  # fmt: skip
    clips.sort(key=lambda row: (row["track"], row["start_seconds"], row["stop_seconds"]))
    classes = tuple(sorted({row["label"] for row in clips}))
    numbers = {video_id: i for i, video_id in enumerate(dict.fromkeys(row["video_id"] for row in clips))}

    def is_test(video_id: str) -> bool:
        row = sources[video_id]
        if row["split"] is not None:
            return bool(row["split"] == "test")
        return hash01(row["group"] or video_id) < spec.test_fraction

    return TrainJob(
        pixels=str(lake / ARRAYS / values_path(PIXELS)),
        clips=tuple(
            ClipRows(
                row_start=row["row_start"],
                row_stop=row["row_stop"],
                label=classes.index(row["label"]),
                source=numbers[row["video_id"]],
                test=is_test(row["video_id"]),
            )
            for row in clips
        ),
        classes=classes,
        spec=spec.model_dump(mode="json"),
        folder=folder,
        variants=spec.variants,
    )


def clip_speeds(lake: Location, product: str, channel: int, stride: int, clips: Sequence[ClipRows]) -> list[float]:
    """Return the mean over time and space of one channel of a feature for each clip (nan where it has no cell)."""
    values = ProductRows(lake, product).values
    speeds = []
    for clip in clips:
        part = np.asarray(values[clip.row_start // stride : -(-clip.row_stop // stride), :, :, channel])
        speeds.append(float(part.mean()) if part.size else float("nan"))
    return speeds
