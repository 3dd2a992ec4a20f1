"""A training job as one JSON document: the clips' rows in the frames array, and what to learn."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from patchlake.tasks import objectives
from patchlake.tasks.keys import digest
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives import Objective, TrainOptions
from patchlake.tasks.objectives.objective import sides_of


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Everything a rank needs; equal jobs give equal results (for one world size and kind of device)."""

    pixels: str
    """Path or s3:// URL of the Zarr v3 array of uint8 frames (time, y, x, channel)."""
    clips: tuple[ClipRows, ...]
    outputs: tuple[str, ...]
    """Names of the model's outputs: the classes, or a target."""
    options: dict[str, Any]
    """The recipe's section, dumped."""
    folder: str
    """Folder or s3:// URL where rank 0 writes its files: FOLDER/VARIANT/{checkpoint.pt, model.pt, model.json}."""
    variants: tuple[str, ...]

    def to_json(self) -> str:
        """Return the document that a rank reads from its standard input."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> TrainJob:
        """Read what `to_json` wrote; unknown keys raise TypeError."""
        given = json.loads(text)
        given |= {name: tuple(given[name]) for name in ("outputs", "variants")}
        return TrainJob(**(given | {"clips": tuple(ClipRows(**clip) for clip in given["clips"])}))

    @cached_property
    def train_options(self) -> TrainOptions:
        """The recipe's section, validated."""
        options: TrainOptions = objectives.OBJECTIVES.entry(self.options)
        return options

    @property
    def objective(self) -> Objective:
        """The objective to train."""
        return objectives.build(self.train_options)

    def digest(self, variant: str) -> str:
        """Return the digest by which this job recognises its checkpoint of a variant; folders are not part of it."""
        clips = [[c.row_start, c.row_stop, c.target, c.source, c.test] for c in self.clips]
        return digest("train", variant, clips, self.outputs, self.train_options.model_dump(mode="json"))

    def key(self, frames: list[Any]) -> str:
        """Return the key of a result; `frames` identifies the stored rows."""
        return digest("train", [self.digest(variant) for variant in self.variants], frames)


def check(job: TrainJob) -> str | None:
    """Return a sentence that says why this job can't be trained and tested, or None."""
    if any(clip.num_rows < 1 for clip in job.clips):
        return "Some clips have no frames; leave them out."
    if (reason := job.objective.problem(job.clips, job.outputs)) is not None:
        return reason
    train, test = ({clip.source for clip in side} for side in sides_of(job.clips))
    if train & test:
        return f"{len(train & test)} sources have clips on both sides of the split: split by group."
    return None
