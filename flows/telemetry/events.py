"""Events of a run: small values passed to listeners, which the rest of the code need not know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from patchlake.tasks.types import Unit, UnitResult

if TYPE_CHECKING:
    from patchlake.cluster.run_items import Retry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage of the run began, perhaps not for the first time."""

    name: str


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage of the run ended, by an error too."""

    name: str
    seconds: float
    """This time alone."""


@dataclass(frozen=True, slots=True)
class WorkStarted:
    """Work that can be counted begins; there is at most one of a name at a time."""

    name: str
    total: int
    unit: str = "items"


@dataclass(frozen=True, slots=True)
class WorkAdvanced:
    """So much more of it is done."""

    name: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class WorkEnded:
    """All of it is done."""

    name: str


@dataclass(frozen=True, slots=True)
class BatchStarted:
    """A batch of units begins."""

    number: int
    """From 0."""
    count: int
    """Batches of this kind in the plan."""
    deferred: bool
    """Whether its units read stored pixels, on GPU workers."""


@dataclass(frozen=True, slots=True)
class UnitDone:
    """A unit is written, to be committed."""

    unit: Unit
    result: UnitResult
    """With the time that its worker had waited for it."""
    worker: str
    """Address."""


@dataclass(frozen=True, slots=True)
class UnitRetried:
    """A unit is started again; without_culprits: first each clip alone, then without those that kill their workers."""

    unit: Unit
    why: Retry | Literal["without_culprits"]


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """A unit can't be done."""

    unit: Unit
    error: BaseException | None
    worker: str
    seconds: float


Event = (
    StageStarted | StageEnded | WorkStarted | WorkAdvanced | WorkEnded
    | BatchStarted | UnitDone | UnitRetried | UnitFailed
)  # fmt: skip
Listener = Callable[[Event], None]
"""Called from several threads, one at a time."""


class Listeners:
    """Passes each event on to all listeners, in the order in which they were given; itself a listener."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Pass the event on."""
        with self._lock:
            for listener in self._listeners:
                listener(event)


def counted(tell: Listener, name: str, items: Iterable[T], *, total: int) -> Iterator[T]:
    """Yield items and report each; the work starts with the first request for one and ends after the last."""
    tell(WorkStarted(name, total))
    for item in items:
        tell(WorkAdvanced(name))
        yield item
    tell(WorkEnded(name))
