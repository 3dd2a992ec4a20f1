"""A worker's wait stands in the first receipt of the unit that it waited for."""

from __future__ import annotations

import time

from patchlake.tasks.types import Receipt, UnitResult
from patchlake.tasks.unit.waiting import WaitClock


def a_result() -> UnitResult:
    receipts = tuple(
        Receipt(
            unit_id="u", product=name, product_digest="d", slots=(0,), pieces=(), num_bytes=1, seconds={"write": 0.5}
        )
        for name in ("pixels", "edges")
    )
    return UnitResult(unit_id="u", receipts=receipts, frames=(), num_decoded=0, num_redecoded=0, seconds=0.1)


def test_a_wait_is_what_the_worker_measured_once_units_were_handed_out() -> None:
    clock, result = WaitClock(), a_result()
    time.sleep(0.05)
    waited = clock.with_wait(result, unit_seconds=0.01, idle_seconds=0.02)
    assert [receipt.seconds for receipt in waited.receipts] == [{"write": 0.5, "wait": 0.02}, {"write": 0.5}]
    assert "wait" not in result.receipts[0].seconds, "the result itself is a value"


def test_who_was_idle_before_the_first_unit_waited_no_longer_than_since_then() -> None:
    begun = time.monotonic()
    clock = WaitClock()
    time.sleep(0.05)
    waited = clock.with_wait(a_result(), unit_seconds=0.01, idle_seconds=1000.0)
    assert 0.04 <= waited.receipts[0].seconds["wait"] <= time.monotonic() - begun - 0.01
    long_unit = clock.with_wait(a_result(), unit_seconds=1000.0, idle_seconds=1000.0)
    assert long_unit.receipts[0].seconds["wait"] == 0.0, "it began with the clock at the latest"
