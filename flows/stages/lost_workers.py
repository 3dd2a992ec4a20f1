"""Which errors of an item end the run: all but the death of its workers."""

from __future__ import annotations

from typing import Any

from distributed import KilledWorker

from patchlake.cluster.run_items import Outcome


def raise_unless_lost(outcome: Outcome[Any, Any]) -> None:
    """Raise the outcome's error, unless it is that the item's workers died (KilledWorker)."""
    if outcome.error is not None and not isinstance(outcome.error, KilledWorker):
        raise outcome.error
