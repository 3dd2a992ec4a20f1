"""Features come and go without the videos: the same bytes as from the start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done

from patchlake.tasks.lake import arrays
from patchlake.tasks.storage.location import Location

Run = Callable[..., Done]
Write = Callable[..., Path]


def lines(run: Run, lake: Path) -> dict[str, str]:
    done = run("digest", str(lake))
    assert done.code == 0, done.err
    return dict(line.split() for line in done.out.splitlines())


@pytest.fixture
def corpus(small_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_corpus, tmp_path / "videos"))


def test_added_later_is_the_same_as_from_the_start(patchlake: Run, recipe: Write, corpus: Path, tmp_path: Path) -> None:
    wanted = {"corpus": {"videos": str(corpus), "labels": "folder"}}
    assert patchlake("run", str(recipe(**wanted, lake=str(tmp_path / "whole"), features=["edges", "flow"]))).code == 0
    path = recipe(**wanted, features=["edges"])
    assert patchlake("run", str(path)).code == 0
    before = lines(patchlake, tmp_path / "lake" / "small")
    corpus.rename(tmp_path / "away")

    done = patchlake("features", str(path), "--add", "flow")
    assert done.code == 0, done.err
    assert "keep it in the recipe" in done.out
    lake = tmp_path / "lake" / "small"
    assert lines(patchlake, lake) == lines(patchlake, tmp_path / "whole" / "small")
    assert patchlake("verify", str(lake)).code == 0
    again = patchlake("features", str(path), "--add", "flow")
    assert again.code == 0
    assert "nothing was decoded" in again.out, again.out

    done = patchlake("features", str(path), "--drop", "flow")
    assert done.code == 0, done.err
    assert arrays.product_names(Location(str(lake))) == ["edges", "pixels"]
    assert lines(patchlake, lake) == before


def test_what_can_not_be_is_said(patchlake: Run, recipe: Write, small_corpus: Path) -> None:
    path = recipe(features=[])
    missing = patchlake("features", str(path), "--add", "edges")
    assert missing.code == 2
    assert "expected LAKE/NAME of a lake that a run has made" in missing.err
    assert patchlake("features", str(path)).code == 2
    unknown = patchlake("features", str(path), "--add", "edgs")
    assert unknown.code == 2
    assert "edgs" in unknown.err
