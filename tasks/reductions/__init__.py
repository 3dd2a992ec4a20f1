"""Statistics of products: one file each, with its options. To add one: one file, and a line in `REDUCTIONS`."""

from __future__ import annotations

from typing import Annotated

from patchlake.tasks.reductions.reduction import Reduction, ReductionOptions
from patchlake.tasks.strict import Family

REDUCTIONS = Family(
    "reductions",
    {
        "pca": (".pca:PcaOptions", ".pca:Pca"),
        "quantiles": (".quantiles:QuantilesOptions", ".quantiles:Quantiles"),
    },
    options=ReductionOptions,
    package=__name__,
)
Entry = Annotated[ReductionOptions, REDUCTIONS]
"""One entry of a recipe's `reduce`."""

__all__ = ["REDUCTIONS", "Entry", "Reduction", "ReductionOptions", "build"]


def build(options: ReductionOptions) -> Reduction:
    """Return the reduction of a recipe's entry."""
    made: Reduction = REDUCTIONS.build(options)
    return made
