"""How long a worker waited for a unit, added to the times that the worker measured."""

from __future__ import annotations

import time
from dataclasses import replace

from patchlake.tasks.types import UnitResult


class WaitClock:
    """Starts when the first unit is submitted: before that no worker waits for units."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def with_wait(self, result: UnitResult, *, unit_seconds: float, idle_seconds: float) -> UnitResult:
        """Return a result that has just arrived, with its worker's wait in the first receipt.

        `idle_seconds`: how long the worker had been idle when it began the unit, which took `unit_seconds`. A worker
        that was idle before the first unit was submitted was not waiting for units: at most the time since then, minus
        the unit's own time, is counted.
        """
        since = time.monotonic() - self._started - unit_seconds
        first, *others = result.receipts
        waited = replace(first, seconds={**first.seconds, "wait": max(0.0, min(idle_seconds, since))})
        return replace(result, receipts=(waited, *others))
