"""What an objective is: what a model learns to predict, and how its predictions are evaluated."""

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
"""Applies a function to items, locally (e.g. `map`) or on a cluster; results come in any order."""
Statistics = dict[str, npt.NDArray[Any]]
"""Arrays with one row per evaluated source; figures depend only on sums over rows."""
Figures = dict[str, Any]
"""JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredProducts:
    """The stored products of a lake."""

    lake: Location
    products: Sequence[Product]


class Objective(Protocol):
    """A training objective. Frozen; imports torch only in `head` and `loss`.

    The coordinator uses targets and outputs to make the job; each rank calls `fitted`, `head`, `loss`, `statistics`
    and `figures`; `rows` and `pictures` present a result.
    """

    @property
    def options(self) -> TrainOptions:
        """The recipe's section."""
        ...

    def target_of(self, row: Mapping[str, Any]) -> Any:
        """Return the target of a row of the table `clips`; None: the clip is left out."""
        ...

    def outputs_of(self, targets: Iterable[Any]) -> tuple[str, ...]:
        """Return the names of the model's outputs, given the targets of all clips."""
        ...

    def encode(self, target: Any, outputs: tuple[str, ...]) -> int | float:
        """Return a target as stored in a sample."""
        ...

    def problem(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> str | None:
        """Return a sentence that says why these clips don't suffice for training and test, or None."""
        ...

    def fitted(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> Objective:
        """Return the objective fitted to the samples; only a fitted one has a head and a loss."""
        ...

    def described(self) -> dict[str, Any]:
        """Return the description of the outputs for a model's card and the result."""
        ...

    def head(self, channels: int) -> nn.Module:
        """Return a new head: maps_BTYXC to outputs_BK."""
        ...

    def loss(self, outputs_BK: Tensor, target_B: Tensor) -> tuple[Tensor, int]:
        """Return the SUM of the loss over terms, and the NUMBER of terms; both add up over ranks."""
        ...

    def statistics(self, outputs_NK: FloatArray, clips: Sequence[ClipRows]) -> Statistics:
        """Return the statistics of the outputs of N clips, each the mean over its windows."""
        ...

    def figures(self, statistics: Statistics) -> Figures:
        """Return the evaluation figures, as stored and shown."""
        ...

    def curve_point(self, figures: Figures) -> dict[str, float]:
        """Return the figures reported after each epoch; their names begin with `test_`."""
        ...

    def baselines(self, clips: Sequence[ClipRows], stored: StoredProducts, run: MapOver) -> dict[str, Any]:
        """Return figures of controls that are computed from stored features, without a training; keys of the result."""
        ...

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return a result as (name, sentence), for the run's table."""
        ...

    def pictures(self, result: Mapping[str, Any]) -> list[Picture]:
        """Return the report's pictures of a result."""
        ...


def sides_of(clips: Sequence[ClipRows]) -> tuple[list[ClipRows], list[ClipRows]]:
    """Return the training clips and the test clips."""
    return [clip for clip in clips if not clip.test], [clip for clip in clips if clip.test]


def empty_side(clips: Sequence[ClipRows]) -> str | None:
    """Return a sentence if there are no training clips or no test clips, else None."""
    train, test = sides_of(clips)
    if train and test:
        return None
    side = "test" if train else "train"
    return f"No clip is in the {side} part: give more groups, another test_fraction or a split column."


def by_source(clips: Sequence[ClipRows]) -> dict[int, list[int]]:
    """Return source -> indices of its clips."""
    members: dict[int, list[int]] = {}
    for position, clip in enumerate(clips):
        members.setdefault(clip.source, []).append(position)
    return members


def sum_by_source(values_NF: FloatArray, clips: Sequence[ClipRows]) -> FloatArray:
    """Return (sources, F) sums of the clips' rows, in the order in which sources first occur."""
    return np.array([values_NF[rows].sum(axis=0) for rows in by_source(clips).values()])
