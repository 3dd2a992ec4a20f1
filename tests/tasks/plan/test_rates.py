"""Rates of earlier runs, by rows written by hand: those of `receipts`, and the JSON of `runs` as it was always kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan import rates
from patchlake.tasks.storage.location import Location

LIGHT = {"light frames/s": 400.0, "measured / light": 0.5}


def run(day: int, figures: dict[str, Any]) -> dict[str, Any]:
    at = datetime(2026, 1, day, tzinfo=UTC)
    text = json.dumps(figures)
    return {"run_id": str(day), "started": at, "stopped": at, "version": "0.1", "recipe": "{}", "figures": text}


def receipt(product: str, num_bytes: int, slots: list[int]) -> dict[str, Any]:
    keys = [f"span {i}" for i in range(len(slots))]
    rows = {"unit_id": "u", "product": product, "product_digest": "d", "num_bytes": num_bytes, "slots": slots}
    lists = {"span_keys": keys, "row_starts": slots, "num_rows": slots, "checksums": keys}
    seconds = {f"{part}_seconds": 0.0 for part in ("decode", "compute", "write", "wait")}
    return {**rows, **lists, **seconds}


def test_a_new_lake_has_no_rates(tmp_path: Path) -> None:
    tables = Tables(Location(str(tmp_path)))
    assert rates.frames_per_second(tables) is None
    assert rates.bytes_per_slot(tables) == {}


def test_the_last_run_that_measured_a_rate_counts_whatever_else_older_rows_lack(tmp_path: Path) -> None:
    tables = Tables(Location(str(tmp_path)))
    tables.runs.append(
        [
            run(3, {"ingest": {"frames/s": 200.0, **LIGHT}}),  # no `rows`, no `slots`: as the first versions wrote
            run(5, {"ingest": {"rows": 9, "units": 1}}),  # light was not measured
            run(2, {"ingest": {"frames/s": 100.0, **LIGHT}}),
            run(6, {"sources": {"ok": 1}, "clips": 3}),  # nothing was decoded
            run(4, {"ingest": {"frames/s": 0.0, **LIGHT}}),  # it stored no row
        ]
    )
    assert rates.frames_per_second(tables) == 200.0


def test_a_slot_takes_a_products_bytes_over_its_slots_each_counted_once_a_unit(tmp_path: Path) -> None:
    tables = Tables(Location(str(tmp_path)))
    tables.receipts.append(
        [
            receipt("pixels", 900, [0, 1, 1]),  # three pieces in two slots
            receipt("pixels", 300, [2]),
            receipt("edges", 50, [0, 1]),
            receipt("flow", 0, []),
        ]
    )
    assert rates.bytes_per_slot(tables) == {"pixels": 400.0, "edges": 25.0}
