"""Rates of earlier runs, from a lake's tables: bytes per slot on disk, frames per second."""

from __future__ import annotations

import json

from patchlake.tasks.figures import RunFigures
from patchlake.tasks.lake.tables import Tables


def bytes_per_slot(tables: Tables) -> dict[str, float]:
    """Return product -> mean bytes on disk of its committed slots."""
    totals: dict[str, tuple[int, int]] = {}
    for row in tables.receipts.rows(["product", "num_bytes", "slots"]):
        num_bytes, slots = totals.get(row["product"], (0, 0))
        totals[row["product"]] = num_bytes + row["num_bytes"], slots + len(set(row["slots"]))
    return {name: num_bytes / slots for name, (num_bytes, slots) in totals.items() if slots}


def frames_per_second(tables: Tables) -> float | None:
    """Return the rate of the last run that measured one; None: no run has."""
    runs = sorted(tables.runs.rows(["started", "figures"]), key=lambda row: row["started"], reverse=True)
    for row in runs:
        ingest = RunFigures.from_json(json.loads(row["figures"])).ingest
        if ingest is not None and ingest.light is not None and ingest.light.frames_per_second:
            return ingest.light.frames_per_second
    return None
