"""What a run tells of itself: a line for each unit, timings in receipts, counters, a performance report."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
from command_line import Done
from in_process import Ingested, ingest
from prometheus_client.parser import text_string_to_metric_families
from user_extractors import PAIRS

from patchlake.cluster.connect import connect
from patchlake.cluster.kinds.local import LocalSpec
from patchlake.flows.telemetry.counters import count
from patchlake.flows.telemetry.events import UnitDone, UnitFailed, UnitRetried
from patchlake.flows.telemetry.observe import check_report
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.unit.waiting import WaitClock

Run = Callable[..., Done]
Write = Callable[..., Path]

BROKEN = (
    """
class Broken:"""
    + PAIRS
    + """
    def __call__(self, frames):
        raise ValueError("not today")
"""
)


def told(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]


def test_each_unit_is_told_as_its_receipts_say(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    path = recipe(cluster={"kind": "local", "workers": 2})
    done = patchlake("run", str(path), "--verbose", "--performance-report", str(tmp_path / "report.html"))
    assert done.code == 0, done.err
    assert "dashboard: http://127.0.0.1:" in done.err
    assert "extract_unit" in (tmp_path / "report.html").read_text()
    assert "wait " in done.out

    tables = Tables(Location(str(tmp_path / "lake" / "small")))
    (run,) = tables.runs.rows()
    lines = {line["unit_id"]: line for line in told(done)}
    receipts: dict[str, list[dict[str, Any]]] = {}
    for row in tables.receipts.rows():
        receipts.setdefault(row["unit_id"], []).append(row)
    assert set(lines) == set(receipts)
    assert len(told(done)) == len(lines)
    for unit_id, line in lines.items():
        rows = {row["product"]: row for row in receipts[unit_id]}
        assert set(rows) == {"pixels", "edges", "flow"}
        assert (line["state"], line["run_id"], line["short"]) == ("done", run["run_id"], {})
        assert datetime.fromisoformat(line["at"]) <= run["stopped"]
        assert line["num_rows"] == line["num_rows_planned"] == sum(rows["pixels"]["num_rows"])
        assert line["num_bytes"] == sum(row["num_bytes"] for row in rows.values()) > 0
        for part in ("decode", "write", "wait"):
            assert line[f"{part}_seconds"] == pytest.approx(
                sum(row[f"{part}_seconds"] for row in rows.values()), abs=1e-5
            )
        assert line["wait_seconds"] > 0
        assert rows["edges"]["wait_seconds"] == 0, "a unit waits once: it stands with its first product"
        found = {name: row["compute_seconds"] for name, row in rows.items()}
        assert line["compute_seconds"] == pytest.approx(found, abs=1e-5)
        assert found["flow"] > 0

    figures = json.loads(run["figures"])
    for worker in {line["worker"] for line in lines.values()}:
        spent = sum(line["seconds"] + line["wait_seconds"] for line in lines.values() if line["worker"] == worker)
        assert spent <= figures["seconds"]["ingest"] + 0.05, "it did one thing after the other, from the first unit on"


def test_a_unit_that_fails_is_told_and_the_performance_report_is_there(
    patchlake: Run, recipe: Write, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    path = recipe(features=["broken:Broken"])
    done = patchlake("run", str(path), "--verbose", "--performance-report", str(tmp_path / "report.html"))
    assert done.code == 1
    failed = [line for line in told(done) if line["state"] == "failed"]
    assert {line["why"] for line in failed} == {"ValueError: not today"}
    assert all(line["worker"].startswith("tcp://127.0.0.1:") for line in failed)
    assert "extract_unit" in (tmp_path / "report.html").read_text()


def test_a_report_that_could_not_be_written_is_refused_at_once(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    done = patchlake("run", str(recipe()), "--performance-report", str(tmp_path / "no" / "report.html"))
    assert (done.code, done.out) == (2, "")
    assert f"there is no folder {tmp_path / 'no'}" in done.err
    assert not (tmp_path / "lake").exists()
    with pytest.raises(RecipeError, match="that is a folder"):
        check_report(str(tmp_path))
    check_report(str(tmp_path / "report.html"))
    check_report(None)
    assert not (tmp_path / "report.html").exists()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("one")
    (folder / "videos").mkdir()
    clips.render(folder / "videos" / "a.mp4", num_frames=40, gop=12)
    return ingest(folder, {"corpus": {"videos": "videos"}, "features": ["edges"], "patches": {"size": [8, 16, 16]}})


def test_a_worker_waits_from_the_first_unit_on(done: Ingested) -> None:
    result = done.results[0]
    begun = time.monotonic()
    clock = WaitClock()
    time.sleep(0.2)
    early = clock.with_wait(result, unit_seconds=0.1, idle_seconds=1000.0)
    most = time.monotonic() - begun - 0.1
    assert 0.1 <= early.receipts[0].seconds["wait"] <= most
    late = clock.with_wait(result, unit_seconds=0.1, idle_seconds=0.003)
    assert late.receipts[0].seconds["wait"] == 0.003
    assert late.receipts[0].seconds["decode"] == result.receipts[0].seconds["decode"]
    assert late.receipts[1:] == result.receipts[1:]


def test_counters_are_at_the_schedulers_endpoint(done: Ingested) -> None:
    first = done.plan.units[0]
    with connect(LocalSpec(workers=1)) as cluster:
        url = str(cluster.dashboard_link).replace("/status", "/metrics")
        before = counters(url)
        for unit, result in zip(done.plan.units, done.results, strict=True):
            count(UnitDone(unit, result, worker="w"))
        count(UnitRetried(first, "worker_left"))
        count(UnitFailed(first, ValueError("why"), worker="w", seconds=0.0))
        after = counters(url)
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    assert grown["patchlake_units_total", "done"] == len(done.results)
    assert grown["patchlake_units_total", "retried"] == grown["patchlake_units_total", "failed"] == 1
    assert grown["patchlake_rows_total",] == 40
    assert grown["patchlake_decoded_frames_total",] == done.num_decoded
    pixels = [r for result in done.results for r in result.receipts if r.product == "pixels"]
    assert grown["patchlake_written_bytes_total", "pixels"] == sum(r.num_bytes for r in pixels)
    assert grown["patchlake_unit_seconds_total", "decode", "pixels"] == pytest.approx(
        sum(r.seconds["decode"] for r in pixels)
    )


def counters(url: str) -> dict[tuple[str, ...], float]:
    """Return our counters by name and labels."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as page:
        text = page.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("patchlake_")
    }
