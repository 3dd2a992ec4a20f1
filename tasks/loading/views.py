"""How much a model sees of time: a window's frames in order, in random order, or only one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from patchlake.tasks.types import IntArray


@dataclass(frozen=True, slots=True)
class View:
    """A selection or order of a window's rows."""

    pick: Callable[[IntArray, np.random.Generator], IntArray]
    """Returns the rows to show, given a window's rows (length,)."""
    single_frame: bool = False

    def num_frames(self, window_frames: int) -> int:
        """Return how many frames of a window are shown."""
        return 1 if self.single_frame else window_frames


def _all(rows: IntArray, rng: np.random.Generator) -> IntArray:
    return rows


def _shuffled(rows: IntArray, rng: np.random.Generator) -> IntArray:
    return rng.permutation(rows)


def _one(rows: IntArray, rng: np.random.Generator) -> IntArray:
    return rng.choice(rows, 1)


IN_ORDER, SHUFFLED, SINGLE_FRAME = View(_all), View(_shuffled), View(_one, single_frame=True)
