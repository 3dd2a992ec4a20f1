"""The temporary Prefect server that is kept between runs: one per user, private, and gone when nobody needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from command_line import run_patchlake, wait_until
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from patchlake.flows.control import reap, server

pytestmark = pytest.mark.usefixtures("no_server_named")


def test_it_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("PATCHLAKE_RUN", "a-run")
    kept = server.keep()
    kept.wait()
    (record,) = Path(os.environ["PATCHLAKE_HOME"], "servers").glob("*.json")
    assert record.stat().st_mode & 0o777 == 0o600
    assert json.loads(record.read_text())["auth"] == kept.auth
    process = psutil.Process(kept.process.pid)
    places = {c.laddr for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
    assert places == {("127.0.0.1", kept.port)}
    assert not {"AWS_SECRET_ACCESS_KEY", "PATCHLAKE_RUN"} & set(process.environ())
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{kept.url}/admin/version").status_code == 401
        assert client.get(f"{kept.url}/admin/version", auth=("patchlake", "guess")).status_code == 401
        assert client.get(f"{kept.url}/admin/version", auth=tuple(kept.auth.split(":"))).status_code == 200


def test_runs_that_start_at_once_share_one() -> None:
    code = "from patchlake.flows.control import server; print(server.keep().port)"

    def start(_: int) -> str:
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    with ThreadPoolExecutor(4) as pool:
        ports = set(pool.map(start, range(4)))
    (kept,) = server.known()
    assert ports == {f"{kept.port}\n"}


def test_it_ends_when_idle() -> None:
    kept = server.keep(idle_seconds=1.0)
    kept.wait()
    wait_until(lambda: not kept.process.is_alive, 30)
    assert not list(server.known())
    other = server.keep()
    assert other.process != kept.process


@pytest.mark.long
def test_it_ends_when_its_record_is_gone() -> None:
    kept = server.keep()
    kept.wait()
    (record,) = Path(os.environ["PATCHLAKE_HOME"], "servers").glob("*.json")
    record.unlink()
    wait_until(lambda: not kept.process.is_alive, 30)


@pytest.mark.long
def test_a_hung_one_is_replaced() -> None:
    kept = server.keep()
    kept.wait()
    (record,) = Path(os.environ["PATCHLAKE_HOME"], "servers").glob("*.json")
    os.utime(record, (time.time() - 1000,) * 2)
    os.kill(kept.process.pid, signal.SIGSTOP)
    other = server.keep()
    assert other.process != kept.process
    assert not kept.process.is_alive
    other.wait()


def test_reap_ends_it_unless_it_is_used() -> None:
    kept = server.keep()
    kept.wait()
    with connect(f"ws://127.0.0.1:{kept.port}/api/events/in", subprotocols=[Subprotocol("prefect")], proxy=None):
        wait_until(lambda: kept.is_used, 10)
        assert not list(reap.reap())
    wait_until(lambda: not kept.is_used, 10)
    (said,) = reap.reap()
    assert said == f"temporary Prefect server at {kept.url} (process {kept.process.pid}) ended"
    assert not kept.process.is_alive
    assert not list(reap.reap())


@pytest.mark.parametrize(
    ("file", "text", "is_named"),
    [
        (None, "", False),
        ("prefect.toml", "[api]\nurl = 'http://127.0.0.1:1/api'\n", True),
        (".env", "PREFECT_API_URL=http://127.0.0.1:1/api\n", True),
        ("pyproject.toml", "[tool.other]\napi_url = 'x'\n", False),
        ("profiles.toml", "active = 'a'\n[profiles.a]\nPREFECT_API_URL = 'http://127.0.0.1:1/api'\n", True),
        ("profiles.toml", "active = 'b'\n[profiles.a]\nPREFECT_API_URL = 'x'\n[profiles.b]\n", False),
    ],
)
def test_a_server_that_the_user_names_is_used_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None, text: str, is_named: bool
) -> None:
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    if file is not None:
        (tmp_path / file).write_text(text)
    code = "from patchlake.flows.control import server; print(server.is_configured())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"{is_named}\n"


def test_two_runs_stand_in_the_same_server(recipe: Callable[..., Path]) -> None:
    path = str(recipe(features=["edges"]))
    done = run_patchlake("run", path)
    assert done.code == 0, done.err
    (first,) = server.known()
    done = run_patchlake("run", path, "--set", "features=[edges,color]")
    assert done.code == 0, done.err
    (kept,) = server.known()
    assert kept == first
    with httpx.Client(trust_env=False, auth=tuple(kept.auth.split(":"))) as client:
        runs = client.post(f"{kept.url}/flow_runs/filter", json={}, timeout=20).raise_for_status().json()
    assert [run["state_type"] for run in runs if run["name"] == path] == ["COMPLETED", "COMPLETED"]
