"""What starts when: nothing but this process where the lake is up to date, all at once where there is work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from command_line import Done, run_patchlake

from patchlake.flows.body import run_body
from patchlake.flows.control import server
from patchlake.flows.session import SessionOptions, WorkFound
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

IN_ONE_PROCESS = """
import json, sys
from patchlake.flows.cli.main import main

try:
    main(sys.argv[1:])
except SystemExit as end:
    print(json.dumps({"code": end.code, "prefect": "prefect" in sys.modules}))
"""


@pytest.fixture
def _no_server_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "none.toml"))
    monkeypatch.chdir(tmp_path)


def num_runs(lake: Path) -> int:
    return len(list(Tables(Location(str(lake))).runs.rows()))


def files_of(lake: Path) -> dict[str, bytes]:
    return {str(path.relative_to(lake)): path.read_bytes() for path in sorted(lake.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("_no_server_named")
def test_a_run_with_nothing_to_do_starts_neither_prefect_nor_a_cluster(
    first_run: Done, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    lake = tmp_path / "lake" / "small"
    arrays, known = files_of(lake / "arrays.zarr"), num_runs(lake)
    command = [sys.executable, "-c", IN_ONE_PROCESS, "run", str(recipe())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"code": 0, "prefect": False}
    assert "none new: nothing was decoded, all is in the lake" in done.stdout
    assert not list(server.known())
    assert num_runs(lake) == known + 1
    assert files_of(lake / "arrays.zarr") == arrays


@pytest.mark.usefixtures("first_run")
def test_labels_are_settled_by_a_mere_look(recipe: Callable[..., Path], small_corpus: Path, tmp_path: Path) -> None:
    path = str(recipe(corpus={"videos": str(small_corpus)}))
    figures = run_body(path, (), SessionOptions(only_look=True))
    lake = Location(str(tmp_path / "lake" / "small"))
    assert figures["clips"] == len(labels := [row["label"] for row in Tables(lake).clips.rows()])
    assert set(labels) == {None}


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize(
    ("changes", "needs_cluster"),
    [
        ({"features": ["edges", "flow", "color"]}, True),
        ({"features": ["flow", {"kind": "edges", "orientations": 4}]}, True),
        ({"clips": [{"method": "windows", "seconds": 0.5}]}, True),
        ({"reduce": [{"kind": "pca", "product": "edges", "components": 2}]}, True),
    ],
)
def test_work_is_found_before_anything_is_begun(
    recipe: Callable[..., Path], tmp_path: Path, changes: dict[str, object], needs_cluster: bool
) -> None:
    before = files_of(tmp_path / "lake" / "small")
    with pytest.raises(WorkFound) as found:
        run_body(str(recipe(**changes)), (), SessionOptions(only_look=True))
    assert found.value.needs_cluster == needs_cluster
    after = files_of(tmp_path / "lake" / "small")
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"lock"}


@pytest.mark.usefixtures("first_run")
def test_a_page_that_is_gone_is_work_for_prefect_but_for_no_cluster(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "lake" / "small" / "report")
    with pytest.raises(WorkFound) as found:
        run_body(str(recipe()), (), SessionOptions(only_look=True))
    assert not found.value.needs_cluster


def test_where_a_server_is_named_a_run_with_nothing_to_do_stands_there(
    first_run: Done, recipe: Callable[..., Path], prefect_server: str
) -> None:
    path = str(recipe())
    done = run_patchlake("run", path, env={"PREFECT_API_URL": prefect_server})
    assert done.code == 0, done.err
    wanted = {"flow_runs": {"name": {"any_": [path]}}}
    with httpx.Client(trust_env=False) as client:
        runs = client.post(f"{prefect_server}/flow_runs/filter", json=wanted, timeout=20).raise_for_status().json()
    assert [run["state_type"] for run in runs] == ["COMPLETED"]


@pytest.mark.usefixtures("_no_server_named")
def test_work_is_done_on_a_temporary_server_and_a_cluster_that_start_for_it(
    first_run: Done, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    path = str(recipe(features=["edges", "flow", "color"]))
    done = run_patchlake("run", path, env={"PATCHLAKE_HOME": os.environ["PATCHLAKE_HOME"]})
    assert done.code == 0, done.err
    assert "new, in" in done.out
    assert len(list(server.known())) == 1
    assert (tmp_path / "lake" / "small" / "arrays.zarr" / "color").exists()
    run_body(path, (), SessionOptions(only_look=True))
