"""How long a worker waited for a unit, put beside the times that the worker measured."""

from __future__ import annotations

import time
from dataclasses import replace

from patchlake.tasks.types import UnitResult


class WaitClock:
    """Starts when the first unit is handed out: before that no worker waits for units."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def with_wait(self, result: UnitResult, *, unit_seconds: float, idle_seconds: float) -> UnitResult:
        """Return a result that has just come, with its worker's wait in the first receipt.

        `idle_seconds`: how long the worker had had nothing to do when it began the unit, which took `unit_seconds`. A
        worker that was idle before the first unit was handed out did not wait for units: what counts is at most the
        time since then, less what the unit took.
        """
        since = time.monotonic() - self._started - unit_seconds
        first, *others = result.receipts
        waited = replace(first, seconds={**first.seconds, "wait": max(0.0, min(idle_seconds, since))})
        return replace(result, receipts=(waited, *others))
