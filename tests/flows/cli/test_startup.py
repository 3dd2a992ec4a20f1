"""What starts when: nothing but this process where the lake is up to date, all at once where there is work."""

from __future__ import annotations

import json
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


def num_runs(lake: Path) -> int:
    return len(list(Tables(Location(str(lake))).runs.rows()))


def files_of(lake: Path) -> dict[str, bytes]:
    return {str(path.relative_to(lake)): path.read_bytes() for path in sorted(lake.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("no_server_named")
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
def test_a_mere_look_settles_tables_and_draws_the_page(
    recipe: Callable[..., Path], small_corpus: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake" / "small"
    page = lake / "report" / "index.html"
    page.unlink()
    path = str(recipe(corpus={"videos": str(small_corpus)}, clips=[{"method": "windows", "seconds": 0.5}]))
    figures = run_body(path, (), SessionOptions(only_look=True))
    rows = list(Tables(Location(str(lake))).clips.rows())
    assert figures["clips"] == len(rows)
    assert {row["label"] for row in rows} == {None}
    assert max(row["stop_seconds"] - row["start_seconds"] for row in rows) <= 0.5
    assert page.exists()


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["edges", "flow", "color"]},
        {"features": ["flow", {"kind": "edges", "canny": [10, 20]}]},
        {"tracks": {"boxes": "boxes.csv"}},
        {"reduce": [{"kind": "pca", "product": "edges", "components": 2}]},
    ],
    ids=["a new feature", "other options", "tracks", "a reduction"],
)
def test_work_is_found_before_any_array_is_touched(
    recipe: Callable[..., Path], tmp_path: Path, changes: dict[str, object]
) -> None:
    arrays = tmp_path / "lake" / "small" / "arrays.zarr"
    (tmp_path / "boxes.csv").write_text("uri,object,t,x,y,width,height\nleft/a.mp4,1,0,8,8,48,48\n")
    before = files_of(arrays)
    with pytest.raises(WorkFound):
        run_body(str(recipe(**changes)), (), SessionOptions(only_look=True))
    assert files_of(arrays) == before


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


@pytest.mark.usefixtures("no_server_named")
def test_work_is_done_on_a_temporary_server_and_a_cluster_that_start_for_it(
    first_run: Done, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    path = str(recipe(features=["edges", "flow", "color"]))
    done = run_patchlake("run", path)
    assert done.code == 0, done.err
    assert "new, in" in done.out
    assert len(list(server.known())) == 1
    assert (tmp_path / "lake" / "small" / "arrays.zarr" / "color").exists()
    run_body(path, (), SessionOptions(only_look=True))
