"""The command line ends with the code that it means, whatever threads are still at work in its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BUSY = """
import sys
import threading
import time

import torch


def work():
    numbers = torch.randn(100)
    while True:
        numbers + numbers  # lets go of Python's lock in C++, and takes it again


for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
"""
OURS = "from patchlake.flows.cli.main import main\n\nsys.argv = ['patchlake', *sys.argv[1:]]\nmain()\n"


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["plan", "missing.yaml"], 2), (["nonsense"], 2)])
def test_threads_in_c_do_not_abort_it(tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "busy.py").write_text(BUSY + OURS)
    done = subprocess.run([sys.executable, tmp_path / "busy.py", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout or done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python no longer unwinds daemon threads")
def test_python_itself_would(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    done = subprocess.run([sys.executable, tmp_path / "busy.py"], capture_output=True, text=True)
    assert done.returncode == -6
    assert "terminate called without an active exception" in done.stderr
