"""A reduction: the least and the largest value of each channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from patchlake.tasks.reductions import ReductionOptions
from patchlake.tasks.reductions.reduction import SampledCells, State


@dataclass(frozen=True)
class Extremes:
    options: ReductionOptions
    version = 1
    heading = "Extremes"

    def chunk(self, values: npt.NDArray[np.floating]) -> State:
        return {"low": values.min(axis=0), "high": values.max(axis=0)}

    def combine(self, a: State, b: State) -> State:
        return {"low": np.minimum(a["low"], b["low"]), "high": np.maximum(a["high"], b["high"])}

    def finalize(self, state: State, channels: Sequence[str]) -> xr.Dataset:
        return xr.Dataset({name: ("channel", value) for name, value in state.items()}, {"channel": list(channels)})

    def figures(self, result: xr.Dataset) -> dict[str, int]:
        return {"channels": result.sizes["channel"]}

    def picture(self, result: xr.Dataset, cells: SampledCells) -> Any:
        return None
