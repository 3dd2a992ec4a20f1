"""What a clip method is. Each method has one file: its options, and how it cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.strict import Strict
from patchlake.tasks.types import FloatArray

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Part(NamedTuple):
    """A range of a track to cut clips from, in seconds, with its label and targets."""

    start: float
    stop: float
    label: str | None = None
    targets: tuple[tuple[str, float], ...] = ()


def within(part: Part, limits: Part) -> Part:
    """Return a part clipped to `limits`; it is empty where stop <= start."""
    return part._replace(start=max(part.start, limits.start), stop=min(part.stop, limits.stop))


class Times(Protocol):
    """What cutting needs to know about a video."""

    @property
    def duration_seconds(self) -> float:
        """From the first displayed frame to the end of the last one."""

    @property
    def fps(self) -> Fraction:
        """Average frames per second; 0 where unknown."""

    @property
    def variable_rate(self) -> bool:
        """Whether the time from frame to frame changes."""


@dataclass(frozen=True, kw_only=True)
class Cuttable:
    """What is known about a track before it is decoded."""

    video: Times
    parts: Sequence[Part]
    """The parts that the manifest names, or the whole track."""
    events: Mapping[str, Sequence[Part]]
    """Events file -> its events of this track's video."""
    extent: Part
    """The whole track."""


@dataclass(frozen=True, kw_only=True)
class StoredScores:
    """Stored rows of a product that lie in one part of a track."""

    seconds: FloatArray
    """(n,) ascending."""
    values: npt.NDArray[Any]
    """(n, y, x, channel) float64."""
    channels: tuple[str, ...]


class ClipMethod(Strict):
    """An entry of a recipe's `clips`. It cuts before anything is decoded, or searches stored scores.

    To write your own method, subclass this with the options as fields and name it as `module:Class`; override `cut`,
    or `searches` and `search`.
    """

    method: str
    searched_kind: ClassVar[str | None] = None
    """Kind of feature whose rows it searches; None: any except labels."""

    @property
    def events_file(self) -> str | None:
        """File of events (`corpus.events.read_events`) that it cuts by."""
        return None

    @property
    def takes_points(self) -> bool:
        """Whether it makes clips of events that last no time."""
        return False

    @property
    def searches(self) -> str | None:
        """Name of the product whose stored rows it searches; None: it cuts before decoding."""
        return None

    def cut(self, track: Cuttable) -> list[Part]:
        """Return the ranges of a track, each with its label and targets."""
        return []

    def search(self, scores: StoredScores, part: Part) -> list[Part]:
        """Return the ranges found in the stored rows of a part of a track."""
        return []
