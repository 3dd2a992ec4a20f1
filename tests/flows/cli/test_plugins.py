"""Verbs of other packages, and errors that nobody foresaw."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, run_patchlake


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Done]:
    """Install a package with a verb `count` beside patchlake, and run that verb."""
    info = tmp_path / "theirs" / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[patchlake.verbs]\ncount = their_verb:count\nrun = their_verb:nothing\n")

    def run(code: str, *words: str) -> Done:
        (info.parent / "their_verb.py").write_text(code)
        path = os.pathsep.join([str(info.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        return run_patchlake(*words, env={"PYTHONPATH": path})

    return run


COUNT = """
def count(folder: str, times: int = 1) -> int:
    "Count things in a folder."
    print(f"{folder} {times}")
    return times
"""
BROKEN = """
def count() -> None:
    "Fail as nobody foresaw."
    {}["missing"]
"""


def test_another_package_adds_a_verb(plugin: Callable[..., Done]) -> None:
    assert "count      Count things in a folder." in plugin(COUNT, "--help").out
    done = plugin(COUNT, "count", "here", "--times", "3")
    assert (done.out, done.code) == ("here 3\n", 3)
    assert plugin(COUNT, "count").code == 2
    assert "Example: patchlake run" in plugin(COUNT, "run", "--help").out, "ours go before theirs"


def test_a_verb_that_can_not_be_loaded_harms_no_other(plugin: Callable[..., Done]) -> None:
    broken = plugin("import no_such_module", "count")
    assert broken.code == 1
    assert "the verb 'count' of patchlake.verbs can't be loaded from their_verb:count" in broken.err
    assert "Traceback" not in broken.err
    assert plugin("import no_such_module", "--version").code == 0
    assert "count      Can't be loaded: run it to see why." in plugin("import no_such_module", "--help").out


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_only_debug_shows_tracebacks(plugin: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    done = plugin(BROKEN, "count")
    assert done.code == 1
    (said,) = done.err.splitlines()
    assert "KeyError: 'missing'. This was not foreseen" in said
    assert "--debug" in said
    if place == "environment":
        monkeypatch.setenv("PATCHLAKE_DEBUG", "1")
    words = {"before": ["--debug", "count"], "after": ["count", "--debug"], "environment": ["count"]}[place]
    done = plugin(BROKEN, *words)
    assert done.code == 1
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1] == "KeyError: 'missing'"
