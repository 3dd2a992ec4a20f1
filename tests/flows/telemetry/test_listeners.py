"""What listeners make of a unit's events: counters, lines of JSON, the Prefect run's log; units made by hand."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prometheus_client import REGISTRY

from patchlake.flows.telemetry.counters import count
from patchlake.flows.telemetry.events import (
    BatchStarted,
    Event,
    StageEnded,
    StageStarted,
    UnitDone,
    UnitFailed,
    UnitRetried,
    WorkStarted,
)
from patchlake.flows.telemetry.prefect_log import log_to_prefect
from patchlake.flows.telemetry.unit_log import LOGGER, UnitLog
from patchlake.tasks.types import Piece, PieceFrames, Receipt, Unit, UnitResult

PIECES = (
    Piece(span_key="s", video_id="v", start=0, stop=32, span_rows=40, row_start=96),
    Piece(span_key="s", video_id="v", start=32, stop=40, span_rows=40, row_start=128),
)
UNIT = Unit(slots=(3, 4), pieces=((PIECES[0],), (PIECES[1],)), decodes=(), sources=(), products=("pixels", "edges"))
FRAMES = (
    PieceFrames(span_key="s", row_start=96, num_rows=32, ticks=b"", pts=b""),
    PieceFrames(span_key="s", row_start=128, num_rows=5, ticks=b"", pts=b"", reason="truncated", message="cut off"),
)
"""Three frames of the second piece are missing."""


def receipt(product: str, num_bytes: int, **seconds: float) -> Receipt:
    return Receipt(
        unit_id=UNIT.unit_id, product=product, product_digest="d", slots=(3, 4), pieces=(), num_bytes=num_bytes,
        seconds=seconds,
    )  # fmt: skip


RESULT = UnitResult(
    unit_id=UNIT.unit_id,
    receipts=(
        receipt("pixels", 1000, decode=0.5, write=0.25, wait=0.125),
        receipt("edges", 40, compute=2.0, write=0.0625),
    ),
    frames=FRAMES,
    num_decoded=41,
    num_redecoded=4,
    seconds=3.0,
)
DONE = UnitDone(UNIT, RESULT, worker="tcp://w:1")
RETRIED = UnitRetried(UNIT, "worker_left")
FAILED = UnitFailed(UNIT, ValueError("not today"), worker="tcp://w:2", seconds=1.5)
OTHERS: tuple[Event, ...] = (
    StageStarted("ingest"), StageEnded("ingest", 1.0), WorkStarted("rows", 40), BatchStarted(0, 1, deferred=False),
)  # fmt: skip


def counters() -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("patchlake_") and sample.name.endswith("_total")
    }


def grown(*events: Event) -> dict[tuple[str, ...], float]:
    """Return the counters that events move, by how much."""
    before = counters()
    for event in events:
        count(event)
    after = counters()
    return {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}


def test_a_done_unit_counts_its_rows_bytes_frames_and_seconds() -> None:
    assert grown(DONE) == pytest.approx(
        {
            ("patchlake_units_total", "done"): 1,
            ("patchlake_rows_total",): 37,
            ("patchlake_decoded_frames_total",): 41,
            ("patchlake_written_bytes_total", "pixels"): 1000,
            ("patchlake_written_bytes_total", "edges"): 40,
            ("patchlake_unit_seconds_total", "decode", "pixels"): 0.5,
            ("patchlake_unit_seconds_total", "write", "pixels"): 0.25,
            ("patchlake_unit_seconds_total", "wait", "pixels"): 0.125,
            ("patchlake_unit_seconds_total", "compute", "edges"): 2.0,
            ("patchlake_unit_seconds_total", "write", "edges"): 0.0625,
        }
    )


def test_retries_and_failures_count_as_units_alone() -> None:
    assert grown(RETRIED, RETRIED, FAILED, *OTHERS) == {
        ("patchlake_units_total", "retried"): 2,
        ("patchlake_units_total", "failed"): 1,
    }


def test_a_clock_that_went_back_takes_nothing_from_a_counter() -> None:
    back = UnitResult(
        unit_id="u", receipts=(receipt("edges", 0, compute=-1.0),), frames=(), num_decoded=0, num_redecoded=0, seconds=0
    )
    assert grown(UnitDone(UNIT, back, worker="w")) == {("patchlake_units_total", "done"): 1}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The lines that were asked for, as they come."""
    found: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(record.getMessage()))

    handler = Kept()
    LOGGER.addHandler(handler)
    with caplog.at_level(logging.INFO, LOGGER.name):
        yield found
    LOGGER.removeHandler(handler)


def test_a_done_unit_is_a_line_of_what_it_did(lines: list[dict[str, Any]]) -> None:
    UnitLog("run7")(DONE)
    (line,) = lines
    assert abs((datetime.now(UTC) - datetime.fromisoformat(line.pop("at"))).total_seconds()) < 60
    assert line == {
        "run_id": "run7", "unit_id": "000000003-000000004", "state": "done", "worker": "tcp://w:1", "seconds": 3.0,
        "wait_seconds": 0.125, "decode_seconds": 0.5, "write_seconds": 0.3125,
        "compute_seconds": {"pixels": 0.0, "edges": 2.0}, "num_slots": 2, "num_rows": 37, "num_rows_planned": 40,
        "num_bytes": 1040, "num_decoded": 41, "num_redecoded": 4, "short": {"truncated": 1},
    }  # fmt: skip


def test_a_retry_and_a_failure_say_why(lines: list[dict[str, Any]]) -> None:
    log = UnitLog("run7")
    for event in (RETRIED, FAILED, *OTHERS):
        log(event)
    found = [{key: value for key, value in line.items() if key not in ("at", "run_id", "unit_id")} for line in lines]
    assert found == [
        {"state": "retried", "why": "worker_left"},
        {"state": "failed", "why": "ValueError: not today", "worker": "tcp://w:2", "seconds": 1.5},
    ]


def test_where_nobody_asked_no_line_is_made(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, LOGGER.name):
        UnitLog("run7")(DONE)
    assert caplog.records == []


def test_outside_of_a_prefect_run_its_log_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for event in (DONE, RETRIED, FAILED, *OTHERS):
            log_to_prefect(event)
    assert [record for record in caplog.records if "ingest" in record.getMessage()] == []


def test_in_a_prefect_run_stages_retries_and_failures_are_in_its_log() -> None:
    """A run's context made by hand: nothing of it is sent to a server."""
    found: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, handler = logging.getLogger("prefect.flow_runs"), Kept()
    run = FlowRunContext.model_construct(flow=a_flow, flow_run=FlowRun(flow_id=uuid.uuid4(), name="run7"))
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}), run:
        logger.addHandler(handler)
        before = logger.level
        logger.setLevel(logging.INFO)
        try:
            for event in (DONE, RETRIED, FAILED, *OTHERS):
                log_to_prefect(event)
        finally:
            logger.setLevel(before)
            logger.removeHandler(handler)
    unit = "unit 000000003-000000004"
    assert found == [f"{unit} retried: worker_left", f"{unit} failed: not today", "stage ingest: 1.0 s"]


@flow
def a_flow() -> None:
    """It never runs."""
