"""What an objective is: what a model learns to tell of a clip, and how well it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from patchlake.tasks.lake.product import Product
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives.options import TrainOptions
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from patchlake.tasks.canvas import Picture

MapOver = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Applies a function to items, here or on a cluster; results come in any order (`map` is one)."""
Statistics = dict[str, npt.NDArray[Any]]
"""One row per judged source in each array; sums over rows are all that figures are made of."""
Figures = dict[str, Any]
"""JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredProducts:
    """What a lake holds beside the frames."""

    lake: Location
    products: Sequence[Product]


class Objective(Protocol):
    """A task of training. Frozen; imports torch in `head` and `loss` alone.

    Targets and outputs are asked for by the coordinator, which makes the job of them; `fitted`, `head`, `loss`,
    `statistics` and `figures` by each rank; `rows` and `pictures` by whoever shows a result.
    """

    @property
    def options(self) -> TrainOptions:
        """The recipe's section."""
        ...

    def target_of(self, row: Mapping[str, Any]) -> Any:
        """Return what there is to be told of a row of the table `clips`; None: the clip is left out."""
        ...

    def outputs_of(self, targets: Iterable[Any]) -> tuple[str, ...]:
        """Return the names of the model's outputs, given the targets of all clips."""
        ...

    def encode(self, target: Any, outputs: tuple[str, ...]) -> int | float:
        """Return a target as a sample holds it."""
        ...

    def problem(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> str | None:
        """Return a sentence that says why these clips can't be learnt from and judged, or None."""
        ...

    def fitted(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> Objective:
        """Return the objective with what it has to know of the samples; only such a one has a head and a loss."""
        ...

    def described(self) -> dict[str, Any]:
        """Return what a model's card and the result say of the outputs."""
        ...

    def head(self, channels: int) -> nn.Module:
        """Return a fresh head: maps_BTYXC to outputs_BK."""
        ...

    def loss(self, outputs_BK: Tensor, target_B: Tensor) -> tuple[Tensor, int]:
        """Return the SUM of the loss over terms, and the NUMBER of terms; both add up over ranks."""
        ...

    def statistics(self, outputs_NK: FloatArray, clips: Sequence[ClipRows]) -> Statistics:
        """Return what judges the outputs of N clips, each the mean over its windows."""
        ...

    def figures(self, statistics: Statistics) -> Figures:
        """Return how well sources were told, as it is stored and shown."""
        ...

    def curve_point(self, figures: Figures) -> dict[str, float]:
        """Return the figures that are told after each epoch; their names begin with `test_`."""
        ...

    def baselines(self, clips: Sequence[ClipRows], stored: StoredProducts, run: MapOver) -> dict[str, Any]:
        """Return figures of controls that need no training, from stored features; keys of the result."""
        ...

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return a result as (name, sentence), for the run's table."""
        ...

    def pictures(self, result: Mapping[str, Any]) -> list[Picture]:
        """Return the report's pictures of a result."""
        ...


def sides_of(clips: Sequence[ClipRows]) -> tuple[list[ClipRows], list[ClipRows]]:
    """Return the clips that are learnt from, and those that judge."""
    return [clip for clip in clips if not clip.test], [clip for clip in clips if clip.test]


def empty_side(clips: Sequence[ClipRows]) -> str | None:
    """Return a sentence where no clip is learnt from or none judges, or None."""
    train, test = sides_of(clips)
    if train and test:
        return None
    side = "test" if train else "train"
    return f"No clip is in the {side} part: give more groups, another test_fraction or a split column."


def by_source(clips: Sequence[ClipRows]) -> dict[int, list[int]]:
    """Return source -> positions of its clips."""
    members: dict[int, list[int]] = {}
    for position, clip in enumerate(clips):
        members.setdefault(clip.source, []).append(position)
    return members


def sum_by_source(values_NF: FloatArray, clips: Sequence[ClipRows]) -> FloatArray:
    """Return (sources, F) sums of the clips' rows, in the order in which sources first occur."""
    return np.array([values_NF[rows].sum(axis=0) for rows in by_source(clips).values()])
