"""A scheduled recipe against a real Prefect server: one run fires and finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import end_group, run_patchlake, wait_until

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location


@pytest.mark.timeout(300)
def test_a_scheduled_run_fires_and_finishes(prefect_server: str, recipe: Callable[..., Path], tmp_path: Path) -> None:
    path = recipe(name="every-minute", schedule="* * * * *", features=["edges"])
    command = [sys.executable, "-m", "patchlake.flows", "serve", str(path)]
    env = {**os.environ, "PREFECT_API_URL": prefect_server}
    with (tmp_path / "serve.log").open("w") as log:
        serving = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        lake = Location(str(tmp_path / "lake" / "every-minute"))
        wait_until(lambda: serving.poll() is not None or Tables(lake).runs.rows(), 200)
        wait_until(lambda: serving.poll() is not None or "COMPLETED" in _states(prefect_server), 30)
        assert serving.poll() is None, (tmp_path / "serve.log").read_text()
    finally:
        end_group(serving.pid)
    assert len(Tables(lake).clips.rows()) == 11
    deployment = _post(f"{prefect_server}/deployments/filter", {})[0]
    assert deployment["entrypoint"] == "patchlake.flows.run.run"


def _states(server: str) -> set[str]:
    runs = _post(f"{server}/flow_runs/filter", {"deployments": {"name": {"any_": ["every-minute"]}}})
    return {run["state_type"] for run in runs}


def _post(url: str, body: dict[str, object]) -> list[dict[str, str]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        found: list[dict[str, str]] = json.load(answer)
    return found


def test_a_recipe_without_a_schedule_can_not_be_served(recipe: Callable[..., Path]) -> None:
    done = run_patchlake("serve", str(recipe()))
    assert done.code == 2
    assert "schedule: missing" in done.err
