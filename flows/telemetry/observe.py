"""What is told of a run while it goes on: a line for each unit, and counters at the scheduler's /metrics."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from prometheus_client import Counter

from patchlake.cluster.run_items import Outcome, Retry
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.types import Unit, UnitResult

LOGGER = logging.getLogger("patchlake.units")
"""A record for each unit that is done, begun again, or failed; its message is a JSON object."""
UNITS = Counter("patchlake_units", "Units, by what became of them: done, retried, failed", ["state"])
ROWS = Counter("patchlake_rows", "Frames stored, or looked at where the recipe keeps none")
BYTES = Counter("patchlake_written_bytes", "Bytes of shards written", ["product"])
FRAMES = Counter("patchlake_decoded_frames", "Source frames decoded")
SECONDS = Counter("patchlake_unit_seconds", "Seconds of units: decode, compute, write, wait", ["part", "product"])


def say_dashboard(link: str | None) -> None:
    """Print where Dask's dashboard is."""
    if link is not None:
        print(f"dashboard: {link}", file=sys.stderr, flush=True)


def check_report(path: str | None) -> None:
    """Raise RecipeError unless a performance report could be written there; makes no file."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        wrong = "that is a folder"
    elif not os.path.isdir(folder):
        wrong = f"there is no folder {folder}"
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        wrong = "it may not be written"
    else:
        return
    raise RecipeError(f"--performance-report: got {path}, but {wrong}: expected a file to write, as report.html")


def say_units() -> None:
    """Print the lines of units on stderr, which is a detached run's log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # Prefect prints what reaches the root


class UnitWatch:
    """Tells what becomes of the units that are handed out from now on; safe to use from several threads."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._begun = time.monotonic()

    def done(self, outcome: Outcome[Unit, UnitResult], result: UnitResult) -> UnitResult:
        """Tell of a unit's result, and return it with what its worker had waited in the first of its receipts.

        A worker that had nothing to do before the first unit was handed out did not wait for units: what counts is at
        most the time since then, less what the unit took.
        """
        since = time.monotonic() - self._begun - outcome.seconds
        first, *others = result.receipts
        waited = replace(first, seconds={**first.seconds, "wait": max(0.0, min(outcome.idle_seconds, since))})
        result = replace(result, receipts=(waited, *others))
        _count(result)
        if LOGGER.isEnabledFor(logging.INFO):
            self._say(outcome.item, "done", worker=outcome.worker, **_facts(outcome.item, result))
        return result

    def retried(self, unit: Unit, why: Retry | Literal["without_culprits"]) -> None:
        """Tell of a unit that is begun again; without culprits: first each clip alone, then without those."""
        UNITS.labels("retried").inc()
        self._say(unit, "retried", why=why)

    def failed(self, outcome: Outcome[Unit, UnitResult]) -> None:
        """Tell of a unit that can't be done, with the error that says why."""
        UNITS.labels("failed").inc()
        why = f"{type(outcome.error).__name__}: {outcome.error}"
        self._say(outcome.item, "failed", why=why, worker=outcome.worker, seconds=_rounded(outcome.seconds))

    def _say(self, unit: Unit, state: str, **facts: Any) -> None:
        if LOGGER.isEnabledFor(logging.INFO):
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            LOGGER.info(
                json.dumps({"at": at, "run_id": self._run_id, "unit_id": unit.unit_id, "state": state, **facts})
            )


def _facts(unit: Unit, result: UnitResult) -> dict[str, Any]:
    short: dict[str, int] = {}
    for piece in result.frames:
        if piece.reason is not None:
            short[piece.reason] = short.get(piece.reason, 0) + 1
    spent = {part: sum(r.seconds.get(part, 0.0) for r in result.receipts) for part in ("wait", "decode", "write")}
    return {
        "seconds": _rounded(result.seconds),
        **{f"{part}_seconds": _rounded(seconds) for part, seconds in spent.items()},
        "compute_seconds": {r.product: _rounded(r.seconds.get("compute", 0.0)) for r in result.receipts},
        "num_slots": len(unit.slots),
        "num_rows": _num_rows(result),
        "num_rows_planned": unit.num_rows,
        "num_bytes": sum(receipt.num_bytes for receipt in result.receipts),
        "num_decoded": result.num_decoded,
        "num_redecoded": result.num_redecoded,
        "short": short,
    }


def _count(result: UnitResult) -> None:
    UNITS.labels("done").inc()
    ROWS.inc(_num_rows(result))
    FRAMES.inc(result.num_decoded)
    for receipt in result.receipts:
        BYTES.labels(receipt.product).inc(receipt.num_bytes)
        for part, seconds in receipt.seconds.items():
            SECONDS.labels(part, receipt.product).inc(max(0.0, seconds))


def _num_rows(result: UnitResult) -> int:
    return sum(piece.num_rows for piece in result.frames)


def _rounded(seconds: float) -> float:
    return round(seconds, 6)
