"""Runs that are detached, looked at, cancelled and reaped: real coordinators, a real Prefect server, a real Slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import Done, wait_until

from patchlake.flows.control import cancel, reap, records, status
from patchlake.flows.control.home import RUN_VARIABLE
from patchlake.flows.control.processes import processes_of
from patchlake.flows.control.records import RunRecord, home, name_of
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake import digest
from patchlake.tasks.lake.layout import LOCK
from patchlake.tasks.lake.lock import hold, owners
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.process_identity import start_of

Command = Callable[..., Done]
Write = Callable[..., Path]
SLOW: dict[str, Any] = {
    "frames": {"size": [360, 480]},
    "patches": {"size": [8, 72, 96]},
    "features": ["flow"],
    "units": {"slot_frames": 32, "slots": 1},
    "cluster": {"kind": "local", "workers": 1, "dashboard": False},
}
"""Seconds of work in units of which each is short."""


@pytest.fixture
def detach(patchlake: Command) -> Iterator[Callable[[Path], RunRecord]]:
    started: list[RunRecord] = []

    def detach(recipe: Path) -> RunRecord:
        done = patchlake("run", str(recipe), "--detach")
        assert done.code == 0, done.err
        started.append(RunRecord(done.out.strip()))
        return started[-1]

    yield detach
    for run in started:
        for process in processes_of(run.run_id):
            process.kill()


def has_shard(lake: Path) -> bool:
    """Tell whether units are being worked on: the first shard is there, and nothing may be committed yet."""
    return any((lake / "arrays.zarr/pixels/frames").glob("c/*"))


def states(server: str, run: RunRecord) -> dict[str, set[str]]:
    """Return the states of a run's flow runs and task runs, by what Prefect's server says."""
    tagged = {"flow_runs": {"tags": {"all_": [name_of(run.run_id)]}}}
    found = {}
    for kind in ("flow_runs", "task_runs"):
        answer = httpx.post(f"{server}/{kind}/filter", json=tagged, timeout=20, trust_env=False)
        found[kind] = {item["state_type"] for item in answer.raise_for_status().json()}
    return found


def test_a_second_coordinator_is_refused_or_waits(patchlake: Command, recipe: Write, tmp_path: Path) -> None:
    path, lake = str(recipe(features=["edges"])), Location(str(tmp_path / "lake" / "small"))
    with ThreadPoolExecutor(1) as pool:
        with hold(lake, "first"):
            for more in ([], ["--detach"]):
                refused = patchlake("run", path, *more)
                assert refused.code == 1
                (said,) = refused.err.splitlines()
                assert f"{lake} is being written by run first of " in said
                assert f"(process {os.getpid()})" in said
            waiting = pool.submit(patchlake, "run", path, "--wait", "100")
            wait_until(lambda: [run for run in records.known_runs() if run.request.lake == str(lake)], 60)
            assert [owner.run_id for owner in owners(lake).values()] == ["first"]
        done = waiting.result()
    assert done.code == 0, done.err
    assert not owners(lake)
    (row,) = Tables(lake).runs.rows(["run_id"])
    assert not RunRecord(row["run_id"]).folder.exists(), "a run in the foreground is forgotten at its end"


def test_what_is_wrong_is_said_before_detaching(patchlake: Command, recipe: Write) -> None:
    before = list(home().glob("*"))
    done = patchlake("run", str(recipe(features=["egdes"])), "--detach")
    assert (done.code, done.out) == (2, "")
    assert "features[0]" in done.err
    assert list(home().glob("*")) == before
    with pytest.raises(RecipeError, match="expected one of"):
        list(status.lines([RunRecord("nobody")]))


def test_detached_cancelled_and_gone_on_with(
    patchlake: Command, recipe: Write, detach: Callable[[Path], RunRecord], tmp_path: Path, prefect_server: str
) -> None:
    """Cancelled in the midst, it commits what was in flight; the next run ends with the digest of the unbroken one."""
    lake = tmp_path / "broken" / "small"
    first = detach(recipe(**SLOW, lake=str(lake.parent)))
    row = patchlake("status", first.run_id).out.splitlines()[1].split()
    assert row[:4] == [first.run_id, "running", str(tmp_path / "recipe.yaml"), str(lake)]
    wait_until(lambda: has_shard(lake) or first.state != "running", 120)
    *_, said = cancel.cancel(first)
    assert said == f"run {first.run_id} is gone: cancelled"
    wait_until(lambda: not processes_of(first.run_id), 10)
    assert not (lake / LOCK).exists()
    committed = Tables(Location(str(lake))).receipts.rows()
    assert committed
    assert states(prefect_server, first)["flow_runs"] == {"CRASHED"}

    again = detach(tmp_path / "recipe.yaml")
    log = patchlake("logs", again.run_id, "--follow").out
    wait_until(lambda: again.state != "running", 20)
    assert (again.state, again.ended and again.ended.exit_code) == ("done", 0), log
    assert "rows, " in log
    units = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {unit["run_id"] for unit in units} == {again.run_id}
    assert len({unit["unit_id"] for unit in units if unit["state"] == "done"}) == len(units) > 0
    assert not again.last_line.startswith("{"), "`status` has no room for units"
    assert "report" in log.splitlines()[-2], "nothing is left out at the end"
    assert again.last_line.startswith("report"), "the frame of the run's table is no last line"
    assert [row["run_id"] for row in Tables(Location(str(lake))).runs.rows(["run_id"])] == [again.run_id]
    assert len(Tables(Location(str(lake))).receipts.rows()) > len(committed)
    assert list(cancel.cancel(again)) == [f"run {again.run_id} is over already: done"]

    unbroken = patchlake("run", str(recipe(**SLOW, lake=str(tmp_path / "unbroken"))))
    assert unbroken.code == 0, unbroken.err
    wanted, found = (digest.digest(Location(str(tmp_path / name / "small"))) for name in ("unbroken", "broken"))
    assert found == wanted


def test_a_killed_coordinator_is_dead_and_reaped(
    patchlake: Command, recipe: Write, detach: Callable[[Path], RunRecord], tmp_path: Path, prefect_server: str
) -> None:
    lake = tmp_path / "lake" / "small"
    run = detach(recipe(**SLOW))
    wait_until(lambda: has_shard(lake) and "RUNNING" in states(prefect_server, run)["task_runs"], 120)
    assert run.coordinator is not None
    assert not list(reap.reap(Location(str(lake)))), "it is alive"
    orphan, bystander = (
        subprocess.Popen(["sleep", "1000"], env={**os.environ, RUN_VARIABLE: run_id}) for run_id in (run.run_id, "0")
    )
    try:
        os.kill(run.coordinator.pid, signal.SIGKILL)
        wait_until(lambda: run.state == "dead", 10)
        assert any(line.startswith(f"{run.run_id}  dead") for line in status.lines(records.known_runs()))
        said = patchlake("reap").out
        for words in (f"process {orphan.pid} ended", "lock of run", "uncommitted shards", "flow run", "task run"):
            assert words in said
        assert bystander.poll() is None
    finally:
        for process in (orphan, bystander):
            process.kill()
            process.wait()
    assert not processes_of(run.run_id)
    assert not start_of(run.coordinator.pid)
    assert not (lake / LOCK).exists()
    assert not (lake / ".stage").exists()
    assert states(prefect_server, run)["flow_runs"] == {"CRASHED"}
    assert not states(prefect_server, run)["task_runs"] & {"RUNNING", "PENDING", "SCHEDULED"}
    assert run.state == "dead"
    assert not list(reap.reap())
    assert not list(reap.reap(Location(str(lake))))


def test_on_slurm_the_coordinator_is_a_job_and_cancel_leaves_none(
    patchlake: Command, recipe: Write, detach: Callable[[Path], RunRecord], tmp_path: Path, slurm: dict[str, Any]
) -> None:
    lake = tmp_path / "lake" / "small"
    run = detach(recipe(**{**SLOW, "cluster": {**slurm, "workers": 1}}))
    assert run.request.job_id in jobs(run)
    wait_until(lambda: has_shard(lake) or run.state not in ("queued", "running"), 90)
    assert run.state == "running", run.log.read_text()
    assert len(jobs(run)) == 2, "the coordinator's and its worker's, both of the run's name"
    *_, said = cancel.cancel(run)
    assert said == f"run {run.run_id} is gone: cancelled", run.log.read_text()
    assert Tables(Location(str(lake))).receipts.rows()
    assert not owners(Location(str(lake)))
    wait_until(lambda: not jobs(run), 30)


def jobs(run: RunRecord) -> list[str]:
    found = subprocess.run(
        ["squeue", "-h", "-o", "%i", f"--name={name_of(run.run_id)}"], capture_output=True, text=True
    )
    return found.stdout.split()
