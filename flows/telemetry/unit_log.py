"""A line of JSON for each unit that is done, retried or failed: a record of the logger `patchlake.units`."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from patchlake.flows.telemetry.events import Event, UnitDone, UnitFailed, UnitRetried
from patchlake.tasks.types import Unit, UnitResult

LOGGER = logging.getLogger("patchlake.units")


def print_unit_lines() -> None:
    """Print the lines on stderr, which is a detached run's log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # Prefect prints what reaches the root


class UnitLog:
    """A listener that logs units (the keys: docs/observing.md); it does nothing where nobody asked for the lines."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def __call__(self, event: Event) -> None:
        """Log what became of a unit."""
        if not isinstance(event, UnitDone | UnitRetried | UnitFailed) or not LOGGER.isEnabledFor(logging.INFO):
            return
        if isinstance(event, UnitDone):
            self._log(event.unit, "done", worker=event.worker, **_facts(event.unit, event.result))
        elif isinstance(event, UnitRetried):
            self._log(event.unit, "retried", why=event.why)
        else:
            why = f"{type(event.error).__name__}: {event.error}"
            self._log(event.unit, "failed", why=why, worker=event.worker, seconds=_rounded(event.seconds))

    def _log(self, unit: Unit, state: str, **facts: Any) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        LOGGER.info(json.dumps({"at": at, "run_id": self._run_id, "unit_id": unit.unit_id, "state": state, **facts}))


def _facts(unit: Unit, result: UnitResult) -> dict[str, Any]:
    spent = {part: sum(r.seconds.get(part, 0.0) for r in result.receipts) for part in ("wait", "decode", "write")}
    return {
        "seconds": _rounded(result.seconds),
        **{f"{part}_seconds": _rounded(seconds) for part, seconds in spent.items()},
        "compute_seconds": {r.product: _rounded(r.seconds.get("compute", 0.0)) for r in result.receipts},
        "num_slots": len(unit.slots),
        "num_rows": sum(piece.num_rows for piece in result.frames),
        "num_rows_planned": unit.num_rows,
        "num_bytes": sum(receipt.num_bytes for receipt in result.receipts),
        "num_decoded": result.num_decoded,
        "num_redecoded": result.num_redecoded,
        "short": dict(Counter(piece.reason for piece in result.frames if piece.reason is not None)),
    }


def _rounded(seconds: float) -> float:
    return round(seconds, 6)
