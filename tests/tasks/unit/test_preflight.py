"""What workers are asked before a run, and what is said of those that will not do."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchlake.tasks.recipe import Recipe, load
from patchlake.tasks.storage.location import Location
from patchlake.tasks.unit import preflight
from patchlake.tasks.unit.preflight import Marker, WorkerCheck

GOOD = {"nthreads": 1, "memory_limit": 1 << 30}


@pytest.fixture
def small(recipe: Callable[..., Path]) -> Recipe:
    return load(recipe())


@pytest.fixture
def marker(tmp_path: Path, small_corpus: Path) -> Marker:
    return preflight.write_marker(Location(str(tmp_path / "lake")), str(small_corpus / "left" / "a.mp4"))


def test_a_good_worker_sees_the_marker_and_leaves_nothing(small: Recipe, marker: Marker, tmp_path: Path) -> None:
    assert preflight.check_worker(marker) == WorkerCheck()
    assert preflight.problems(small, marker, {"w": GOOD}, {"w": preflight.check_worker(marker)}) == []
    preflight.remove_marker(marker)
    assert not [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]


def test_a_folder_of_the_same_name_on_another_machine_is_found_out(marker: Marker) -> None:
    preflight.remove_marker(marker)
    assert "not the one here" in preflight.check_worker(marker).lake


def test_a_lake_that_takes_no_bytes_is_found_out(marker: Marker) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # as a full disk would; root may write everywhere
        assert preflight.check_worker(marker).lake != ""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_video_that_only_the_coordinator_has_is_found_out(marker: Marker, small_corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.mp4"
    mine.write_bytes((small_corpus / "left" / "a.mp4").read_bytes())
    here = preflight.write_marker(marker.lake, str(mine))
    mine.unlink()
    assert "can't be read" in preflight.check_worker(here).sample
    assert preflight.write_marker(marker.lake, str(mine)).sample is None, (
        "what nobody can read is not the worker's fault"
    )


@pytest.mark.parametrize(
    ("worker", "seen", "said"),
    [
        ({**GOOD, "nthreads": 4}, WorkerCheck(), "w2 has 4 threads, expected 1"),
        ({**GOOD, "memory_limit": 200 << 20}, WorkerCheck(), "w2 may use 200 MiB, units need at least 251 MiB"),
        (GOOD, WorkerCheck(lake="no such folder"), "w2 can't use the lake"),
        (GOOD, WorkerCheck(sample="no such file"), "w2 can't read"),
    ],
)
def test_each_lack_is_a_sentence(
    small: Recipe, marker: Marker, worker: dict[str, Any], seen: WorkerCheck, said: str
) -> None:
    (sentence,) = preflight.problems(small, marker, {"w1": GOOD, "w2": worker}, {"w1": WorkerCheck(), "w2": seen})
    assert said in sentence
