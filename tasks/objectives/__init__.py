"""Training objectives: one per file, with its options. To add one: one file, and a line in `OBJECTIVES`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from patchlake.tasks.objectives.objective import Objective
from patchlake.tasks.objectives.options import TrainOptions
from patchlake.tasks.strict import Family

OBJECTIVES = Family(
    "objectives",
    {
        "classify": (".classify:ClassifyOptions", ".classify:Classify"),
        "regress": (".regress:RegressOptions", ".regress:Regress"),
    },
    options=TrainOptions,
    package=__name__,
    key="task",
    default="classify",
)


def _unless_none(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    return None if value is None else read(value)


Section = Annotated[TrainOptions | None, OBJECTIVES, WrapValidator(_unless_none)]
"""The recipe's `train`."""

__all__ = ["OBJECTIVES", "Objective", "Section", "TrainOptions", "build"]


def build(options: TrainOptions) -> Objective:
    """Return the objective of a recipe's section."""
    made: Objective = OBJECTIVES.build(options)
    return made
