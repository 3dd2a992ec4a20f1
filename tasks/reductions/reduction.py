"""What a reduction is: how to turn cells into a state, merge states into one, and turn that into a result."""

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
"""Summary of some cells, as named arrays; small, and its size does not depend on the number of cells."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(Protocol):
    """Applies a function to items, locally (e.g. `map`) or on a cluster; results may come in any order."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterable[Result]:
        """Return the results."""
        ...


class ReductionOptions(Strict):
    """Base class of the recipe entries of reductions."""

    kind: str
    product: str = Field(validation_alias=AliasChoices("product", "feature"))
    """Name of the product to reduce."""

    @property
    def name(self) -> str:
        """Name of the reduction's folder in the lake and of its row in the run's table."""
        return f"{self.kind}-{self.product}"

    @property
    def key(self) -> dict[str, Any]:
        """All options, as they enter the result's key."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True, eq=False)
class SampledCells:
    """Cells of the reduced product, sampled for a picture."""

    product: str
    values: npt.NDArray[np.float64]
    """(n, channel)."""
    labels: Sequence[str | None]
    """(n,) labels of their clips."""


class Reduction(Protocol):
    """A statistic of all committed cells of a product. Frozen; pickled to workers.

    States are combined in the order of an aligned tree of slot numbers (see `tree`), so a result does not depend on
    which worker computed which part, even where sums are rounded.
    """

    @property
    def options(self) -> ReductionOptions:
        """The recipe's entry."""
        ...

    @property
    def version(self) -> int:
        """Increased whenever the same cells give a different result than before."""
        ...

    @property
    def heading(self) -> str:
        """Heading of its section in the report."""
        ...

    def chunk(self, values: npt.NDArray[np.floating]) -> State:
        """Return the state of (n, channel) cells, n >= 1, float16 or float32."""
        ...

    def combine(self, a: State, b: State) -> State:
        """Return the state of the cells of both; `a` comes before `b` in the lake. Changes neither."""
        ...

    def finalize(self, state: State, channels: Sequence[str]) -> xr.Dataset:
        """Return the result to store; `channels` are the names of the product's channels.

        Raises RecipeError or LakeError if these cells have no such result.
        """
        ...

    def figures(self, result: xr.Dataset) -> dict[str, int]:
        """Return the counts shown in the run's table and the report, in order."""
        ...

    def picture(self, result: xr.Dataset, cells: SampledCells) -> Picture | None:
        """Return the report's picture; None if there is nothing to show."""
        ...
