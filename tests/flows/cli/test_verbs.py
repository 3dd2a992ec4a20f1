"""What the command says of itself: help, version, completion; quickly."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run_patchlake

VERBS = [
    "run", "plan", "features", "serve", "status", "logs", "cancel", "reap", "digest", "verify", "demo", "worker",
    "scheduler",
]  # fmt: skip


def test_help_names_each_verb_in_one_line() -> None:
    done = run_patchlake("--help")
    assert done.code == 0
    listed = done.out.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line.startswith("  ")][: len(VERBS)] == VERBS
    assert "..." not in done.out.partition("Commands:")[2], "no line is cut off"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("worker", "scheduler")])
def test_each_verb_explains_itself_with_an_example(verb: str) -> None:
    done = run_patchlake(verb, "--help")
    assert done.code == 0
    assert f"Example: patchlake {verb}" in done.out


def test_a_misspelt_verb_gets_a_suggestion() -> None:
    done = run_patchlake("verfy", "x")
    assert done.code == 2
    assert "Did you mean 'verify'?" in done.err


def test_the_version_is_that_of_the_package() -> None:
    import patchlake

    assert run_patchlake("--version").out == f"patchlake {patchlake.__version__}\n"


def test_a_shell_completes_verbs_and_options() -> None:
    def complete(words: str, number: int) -> list[str]:
        env = {"_PATCHLAKE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        return run_patchlake(env=env).out.split()

    assert complete("patchlake ver", 1) == ["verify"]
    assert complete("patchlake run recipe.yaml --retry", 3) == ["--retry-failed"]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"], ["verify", "--help"]])
def test_what_says_a_word_imports_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys, time
from patchlake.flows.cli.main import main
try:
    main({words})
except SystemExit:
    heavy = {{"prefect", "dask", "distributed", "torch", "pandas", "numpy", "zarr", "rich"}} & set(sys.modules)
    sys.exit(f"heavy: {{heavy}}" if heavy else "slow" if time.process_time() > 0.3 else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_runs_are_listed_without_frames() -> None:
    assert run_patchlake("status").out.split() == ["run", "state", "recipe", "lake", "host", "since", "last", "line"]


def test_the_first_line_on_a_terminal_comes_at_once(tmp_path: Path) -> None:
    """Where nothing is read from a terminal there is none: errors stay one line."""
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "patchlake.flows", "run", str(tmp_path / "missing.yaml")]
    with subprocess.Popen(command, stderr=theirs) as process:
        os.close(theirs)
        assert os.read(terminal, 100).startswith(b"starting ...")
        assert process.wait(60) == 2
    os.close(terminal)
    assert "starting" not in run_patchlake("run", str(tmp_path / "missing.yaml")).err
