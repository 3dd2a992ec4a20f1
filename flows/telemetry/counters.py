"""Prometheus counters of a run, beside Dask's own at the scheduler's /metrics (docs/observing.md)."""

from __future__ import annotations

from prometheus_client import Counter

from patchlake.flows.telemetry.events import Event, UnitDone, UnitFailed, UnitRetried
from patchlake.tasks.types import UnitResult

UNITS = Counter("patchlake_units", "Units, by what became of them: done, retried, failed", ["state"])
ROWS = Counter("patchlake_rows", "Frames stored, or looked at where the recipe keeps none")
BYTES = Counter("patchlake_written_bytes", "Bytes of shards written", ["product"])
FRAMES = Counter("patchlake_decoded_frames", "Source frames decoded")
SECONDS = Counter("patchlake_unit_seconds", "Seconds of units: decode, compute, write, wait", ["part", "product"])


def count(event: Event) -> None:
    """Count what becomes of units: a listener."""
    if isinstance(event, UnitDone):
        UNITS.labels("done").inc()
        _count_result(event.result)
    elif isinstance(event, UnitRetried):
        UNITS.labels("retried").inc()
    elif isinstance(event, UnitFailed):
        UNITS.labels("failed").inc()


def _count_result(result: UnitResult) -> None:
    ROWS.inc(sum(piece.num_rows for piece in result.frames))
    FRAMES.inc(result.num_decoded)
    for receipt in result.receipts:
        BYTES.labels(receipt.product).inc(receipt.num_bytes)
        for part, seconds in receipt.seconds.items():
            SECONDS.labels(part, receipt.product).inc(max(0.0, seconds))
