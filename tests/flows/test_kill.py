"""SIGKILL of everything at each moment of a run, once each, then a re-run: the digest of the unbroken run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Done

from patchlake.tasks.failpoints import POINTS

Run = Callable[..., Done]
IN_A_STORE = ("shard_written", "table_rows_written", "receipts_written")
"""Where a store may differ from a folder; `make faults` does harm at the others, too."""


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    if request.param == "folder":
        yield str(tmp_path), {}
    else:
        yield f"s3://lakes/{tmp_path.name}", request.getfixturevalue("s3")


def digest(run: Run, lake: str, env: dict[str, str]) -> str:
    done = run("digest", lake, env=env)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_killed_run_goes_on(patchlake: Run, recipe: Callable[..., Path], place: tuple[str, dict[str, str]]) -> None:
    root, env = place
    options: dict[str, Any] = {"features": ["edges"]}
    unbroken = patchlake("run", str(recipe(lake=f"{root}/unbroken", **options)), env=env)
    assert unbroken.code == 0, unbroken.err
    wanted = digest(patchlake, f"{root}/unbroken/small", env)
    for point in POINTS if not env else IN_A_STORE:
        path = str(recipe(lake=f"{root}/{point}", **options))
        killed = patchlake("run", path, env={**env, "PATCHLAKE_FAULT": point})
        assert killed.code == -9, f"{point}: {killed.err}"
        again = patchlake("run", path, env=env)
        assert again.code == 0, f"{point}: {again.err}"
        assert digest(patchlake, f"{root}/{point}/small", env) == wanted, point
        assert patchlake("verify", f"{root}/{point}/small", env=env).code == 0, point
