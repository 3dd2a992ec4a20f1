"""Flows that are called from a script: its interpreter ends, whatever became of the Prefect server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path

from patchlake.flows.control import server


def kill_at_first_shard(pid):
    while not list(Path(sys.argv[2]).glob("small/arrays.zarr/pixels/frames/c/*")):
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    print("killed", flush=True)


if __name__ == "__main__":
    kept = server.use()
    kept.wait()
    threading.Thread(target=kill_at_first_shard, args=[kept.process.pid], daemon=True).start()
    from patchlake.flows.run import run

    try:
        run(sys.argv[1])
    except Exception as error:
        print(f"raised {type(error).__name__}")
    print("over", flush=True)
"""


@pytest.mark.long
@pytest.mark.usefixtures("no_server_named")
def test_a_script_ends_though_its_server_went_away(recipe: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", recipe(features=["edges"]), tmp_path / "lake"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        said = []
        for line in script.stdout:
            said.append(line.strip())
            if line == "over\n":
                break
        over = time.monotonic()
        try:
            code = script.wait(60)
        finally:
            script.kill()
    assert said[0] == "killed", "the server was there until then"
    assert said[-1] == "over"
    assert code == 0
    assert time.monotonic() - over < 20
