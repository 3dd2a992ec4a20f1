"""What a reduction is: a value that says how cells become a state, states one state, and a state a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, Field

from patchlake.tasks.strict import Strict

if TYPE_CHECKING:
    import xarray as xr

    from patchlake.tasks.canvas import Picture

State = dict[str, npt.NDArray[Any]]
"""What is known of some cells, as named arrays; small, and its size does not depend on how many cells there were."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(Protocol):
    """Applies a function to items, here or on a cluster; results may come in any order (`map` is one)."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterable[Result]:
        """Return the results."""
        ...


class ReductionOptions(Strict):
    """What a recipe says about any reduction."""

    kind: str
    product: str = Field(validation_alias=AliasChoices("product", "feature"))
    """Name of the product that is reduced."""

    @property
    def name(self) -> str:
        """The reduction's folder in the lake, and its row in the run's table."""
        return f"{self.kind}-{self.product}"

    @property
    def key(self) -> dict[str, Any]:
        """All options, as they go into the key of the result."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True, eq=False)
class SampledCells:
    """Some cells of the reduced product, sampled for a picture."""

    product: str
    values: npt.NDArray[np.float64]
    """(n, channel)"""
    labels: Sequence[str | None]
    """(n,) labels of the clips that they lie in."""


class Reduction(Protocol):
    """A statistic of all committed cells of a product. Frozen; pickles to workers.

    `combine` meets states in the order of an aligned tree of slot numbers (see `tree`), so a result does not depend
    on who computed which part, even where sums round.
    """

    @property
    def options(self) -> ReductionOptions:
        """The recipe's entry."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same cells give another result than before."""
        ...

    @property
    def heading(self) -> str:
        """Heading of the report's section that shows it."""
        ...

    def chunk(self, values: npt.NDArray[np.floating]) -> State:
        """Return the state of (n, channel) cells, n >= 1, float16 or float32."""
        ...

    def combine(self, a: State, b: State) -> State:
        """Return the state of the cells of both; `a` lies before `b` in the lake. Neither is changed."""
        ...

    def finalize(self, state: State, channels: Sequence[str]) -> xr.Dataset:
        """Return what is stored; `channels` are the names of the product's channels.

        Raises RecipeError or LakeError where these cells have no such result.
        """
        ...

    def figures(self, result: xr.Dataset) -> dict[str, int]:
        """Return the counts that the run's table and the report's list show, in order."""
        ...

    def picture(self, result: xr.Dataset, cells: SampledCells) -> Picture | None:
        """Return the report's picture; None where there is nothing to see."""
        ...
