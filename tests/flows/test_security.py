"""What a whole running system listens on, and where secrets of the environment end up: nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from command_line import run_patchlake, wait_until

from patchlake.flows.control import server
from patchlake.flows.control.processes import processes_of
from patchlake.flows.control.records import RunRecord

SECRETS = {"AWS_SECRET_ACCESS_KEY": "hidden-in-aws", "HF_TOKEN": "hidden-in-hf", "PREFECT_API_KEY": "hidden-in-prefect"}


@pytest.fixture
def system(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bool], RunRecord]]:
    """Start a detached run with secrets around it and a Prefect server of its own; ends whatever is left of it."""
    for name, value in {
        **SECRETS,
        "PATCHLAKE_HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(tmp_path / "p"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    started: list[RunRecord] = []

    def start(dashboard: bool) -> RunRecord:
        cluster = {"kind": "local", "workers": 2, "dashboard": dashboard, "tls": True}
        done = run_patchlake("run", str(recipe(features=["edges"], cluster=cluster)), "--detach")
        assert done.code == 0, done.err
        started.append(RunRecord(done.out.strip()))
        return started[-1]

    yield start
    for run in started:
        for process in processes_of(run.run_id):
            process.kill()


def listeners(run: RunRecord) -> dict[str, set[tuple[str, int]]]:
    """Return where each kind of process of a run listens, and how many processes there are of each."""
    found: dict[str, set[tuple[str, int]]] = {}
    kept = [psutil.Process(found.process.pid) for found in server.known()]
    for process in [*processes_of(run.run_id), *kept]:
        try:
            words = " ".join(process.cmdline())
            places = {c.laddr for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
            udp = {c.laddr for c in process.net_connections(kind="udp")}
        except psutil.Error:
            continue
        what = "worker" if "spawn_main" in words else "server" if "server_program" in words else "coordinator"
        what = "decoder" if "patchlake.tasks.video.child" in words else what
        found.setdefault(what, set()).update((place.ip, place.port) for place in places | udp)
    return found


@pytest.mark.long
def test_all_of_a_run_listens_on_loopback_as_documented_and_no_secret_is_written(
    system: Callable[[bool], RunRecord], tmp_path: Path
) -> None:
    """The ports of docs/clusters.md, counted; then every file that the run left is read."""
    run = system(True)
    seen: dict[str, set[tuple[str, int]]] = {}

    def look() -> bool:
        time.sleep(0.5)  # each look reads all of /proc
        for what, places in listeners(run).items():
            seen.setdefault(what, set()).update(places)
        return run.state not in ("queued", "running")

    wait_until(look, 120)
    assert run.state == "done", run.log.read_text()
    assert {ip for places in seen.values() for ip, _ in places} == {"127.0.0.1"}
    assert {what: len(places) for what, places in seen.items()} == {
        "coordinator": 4,  # scheduler, dashboard, a nanny for each worker
        "worker": 4,  # each: Dask's protocol, a health page
        "server": 1,  # Prefect's temporary one, which is kept for the next run
        "decoder": 0,
    }
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("sqlite" in path.read_bytes()[:20].decode(errors="replace").lower() for path in files), "Prefect's own"
    assert any(path.name == "log" for path in files)
    assert any("runs" in path.parts and path.suffix == ".parquet" for path in files), "the recipe, in the lake"
    leaks = [(path, name) for path in files for name, value in SECRETS.items() if value.encode() in path.read_bytes()]
    assert not leaks
