"""From a lake's tables to a training job: which clips are for training, which for test."""

from __future__ import annotations

from patchlake.tasks import objectives
from patchlake.tasks.lake.layout import ARRAYS, MODELS, values_path
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives import TrainOptions, variants
from patchlake.tasks.storage.location import Location
from patchlake.tasks.training.job import TrainJob
from patchlake.tasks.training.split import VALIDATE, is_test
from patchlake.tasks.types import PIXELS


def train_job(lake: Location, tables: Tables, options: TrainOptions) -> TrainJob:
    """Return the job of the lake's clips that have a target, in track and time order.

    A clip belongs to its source's split; see `split`. Clips of sources that failed are left out, and so are those of
    sources for validation, which training does not use yet: they must not be learned from.
    """
    objective = objectives.build(options)
    sources = {}
    for row in tables.sources.rows(["video_id", "split", "group", "status"]):
        if row["video_id"] is not None and row["status"] in ("ok", "partial") and row["split"] != VALIDATE:
            sources[row["video_id"]] = row
    found = [
        (row, target) for row in tables.clips.rows()
        if (target := objective.target_of(row)) is not None
        and row["row_stop"] > row["row_start"] and row["video_id"] in sources
    ]  # fmt: skip
    found.sort(key=lambda pair: (pair[0]["track"], pair[0]["start_seconds"], pair[0]["stop_seconds"]))
    outputs = objective.outputs_of(target for _, target in found)
    numbers = {video_id: i for i, video_id in enumerate(dict.fromkeys(row["video_id"] for row, _ in found))}
    return TrainJob(
        pixels=str(lake / ARRAYS / values_path(PIXELS)),
        clips=tuple(
            ClipRows(
                row_start=row["row_start"],
                row_stop=row["row_stop"],
                target=objective.encode(target, outputs),
                source=numbers[row["video_id"]],
                test=is_test(sources[row["video_id"]], options.test_fraction),
            )
            for row, target in found
        ),
        outputs=outputs,
        options=options.model_dump(mode="json"),
        folder=str(lake / MODELS),
        variants=variants.names_of(options),
    )
