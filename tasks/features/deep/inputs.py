"""Inputs of a network, from one piece or several, cut out only when their batch is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.deep.forward import Forward
from patchlake.tasks.types import FrameArray, IntArray


class Inputs(Protocol):
    """A sequence of inputs of a network."""

    def __len__(self) -> int: ...

    def take(self, start: int, stop: int) -> FrameArray:
        """Return inputs [start, stop) as (n, T, height, width, 3) RGB bytes."""
        ...


@dataclass(frozen=True)
class Windows:
    """Whole frames: those `times` after each of `starts`."""

    frames: FrameArray
    starts: IntArray
    times: IntArray

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, start: int, stop: int) -> FrameArray:
        """Return inputs [start, stop) as (n, T, height, width, 3) RGB bytes."""
        picked: FrameArray = self.frames[self.starts[start:stop, None] + self.times]
        return picked


def through(forward: Forward, parts: Sequence[Inputs]) -> list[npt.NDArray[Any]]:
    """Put all parts through a network in common batches; return (count, time, y, x, token) for each part."""
    stops = np.cumsum([len(part) for part in parts]).tolist()
    starts = [0, *stops[:-1]]

    def take(start: int, stop: int) -> FrameArray:
        taken = [
            part.take(max(start, first) - first, min(stop, last) - first)
            for part, first, last in zip(parts, starts, stops, strict=True)
            if first < stop and start < last
        ]
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    return np.split(forward(stops[-1], take), starts[1:])
