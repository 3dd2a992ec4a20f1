"""A training job as one JSON document: which rows of the frames array are which clip, and what to learn."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from patchlake.tasks.keys import digest
from patchlake.tasks.training.options import TrainSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRows:
    """One labelled clip: the rows [row_start, row_stop) of the frames array."""

    row_start: int
    row_stop: int
    label: int
    """Position in the job's `classes`."""
    source: int
    """Number of the source video; results count sources, not clips."""
    test: bool

    @property
    def num_rows(self) -> int:
        """Stored frames of the clip."""
        return self.row_stop - self.row_start


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainJob:
    """All that a rank is told; equal jobs, equal results (for one world size and kind of device)."""

    pixels: str
    """Path or s3:// URL of the Zarr v3 array of uint8 frames (time, y, x, channel)."""
    clips: tuple[ClipRows, ...]
    classes: tuple[str, ...]
    spec: dict[str, Any]
    """A `TrainSpec`, dumped."""
    folder: str
    """Folder or s3:// URL where rank 0 keeps what it makes: FOLDER/VARIANT/{checkpoint.pt, model.pt, model.json}."""
    variants: tuple[str, ...]

    def to_json(self) -> str:
        """Return the document that a rank reads from its standard input."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> TrainJob:
        """Read what `to_json` wrote; unknown keys raise TypeError."""
        given = json.loads(text)
        given |= {name: tuple(given[name]) for name in ("classes", "variants")}
        return TrainJob(**(given | {"clips": tuple(ClipRows(**clip) for clip in given["clips"])}))

    @property
    def train_spec(self) -> TrainSpec:
        """The recipe's section, checked."""
        return TrainSpec.model_validate(self.spec)

    def digest(self, variant: str) -> str:
        """Return what makes a checkpoint of this variant this job's own; folders are not part of it."""
        clips = [[c.row_start, c.row_stop, c.label, c.source, c.test] for c in self.clips]
        return digest("train", variant, clips, self.classes, self.train_spec.model_dump(mode="json"))


def check(job: TrainJob) -> str | None:
    """Return a sentence that says why this job can't be trained and judged, or None."""
    train = Counter(clip.label for clip in job.clips if not clip.test)
    test = Counter(clip.label for clip in job.clips if clip.test)
    sides = [{clip.source for clip in job.clips if clip.test is side} for side in (False, True)]
    if any(clip.num_rows < 1 for clip in job.clips):
        return "Some clips have no frames; leave them out."
    if len(train | test) < 2:
        count = f"{len(train | test)} labels among {len(job.clips)} clips"
        return f"There are {count}, expected two or more: label the corpus."
    if not train or not test:
        side = "test" if train else "train"
        return f"No clip is in the {side} part: give more groups, another test_fraction or a split column."
    if len(train) < 2:
        only = job.classes[next(iter(train))]
        return f"The train part holds one label only ({only}): give more groups or a split column."
    if not train & test:
        return "No label is in both the train and the test part: give more groups per label or a split column."
    if sides[0] & sides[1]:
        return f"{len(sides[0] & sides[1])} sources have clips on both sides of the split: split by group."
    return None
