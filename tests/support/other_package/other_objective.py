"""An objective: classes under names of its own."""

from collections.abc import Mapping
from typing import Any, Literal

from patchlake.tasks.objectives.classify import Classify
from patchlake.tasks.objectives.options import TrainOptions


class Options(TrainOptions):
    task: Literal["side"]


class Side(Classify):
    Options = Options

    def target_of(self, row: Mapping[str, Any]) -> str | None:
        return f"going {row['label']}" if row["label"] else None
