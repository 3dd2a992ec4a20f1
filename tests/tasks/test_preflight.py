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
from patchlake.tasks.unit.preflight import Seen, Sign

GOOD = {"nthreads": 1, "memory_limit": 1 << 30}


@pytest.fixture
def small(recipe: Callable[..., Path]) -> Recipe:
    return load(recipe())


@pytest.fixture
def sign(tmp_path: Path, small_corpus: Path) -> Sign:
    return preflight.put_sign(Location(str(tmp_path / "lake")), str(small_corpus / "left" / "a.mp4"))


def test_a_good_worker_sees_the_sign_and_leaves_nothing(small: Recipe, sign: Sign, tmp_path: Path) -> None:
    assert preflight.look(sign) == Seen()
    assert preflight.complaints(small, sign, {"w": GOOD}, {"w": preflight.look(sign)}) == []
    preflight.remove_sign(sign)
    assert not [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]


def test_a_folder_of_the_same_name_on_another_machine_is_found_out(sign: Sign) -> None:
    preflight.remove_sign(sign)
    assert "not the one here" in preflight.look(sign).lake


def test_a_lake_that_takes_no_bytes_is_found_out(sign: Sign) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # as a full disk would; root may write everywhere
        assert preflight.look(sign).lake != ""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_video_that_only_the_coordinator_has_is_found_out(sign: Sign, small_corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.mp4"
    mine.write_bytes((small_corpus / "left" / "a.mp4").read_bytes())
    here = preflight.put_sign(sign.lake, str(mine))
    mine.unlink()
    assert "can't be read" in preflight.look(here).sample
    assert preflight.put_sign(sign.lake, str(mine)).sample is None, "what nobody can read is not the worker's fault"


@pytest.mark.parametrize(
    ("worker", "seen", "said"),
    [
        ({**GOOD, "nthreads": 4}, Seen(), "w2 has 4 threads, expected 1"),
        ({**GOOD, "memory_limit": 200 << 20}, Seen(), "w2 may use 200 MiB, units need at least 251 MiB"),
        (GOOD, Seen(lake="no such folder"), "w2 can't use the lake"),
        (GOOD, Seen(sample="no such file"), "w2 can't read"),
    ],
)
def test_each_lack_is_a_sentence(small: Recipe, sign: Sign, worker: dict[str, Any], seen: Seen, said: str) -> None:
    (sentence,) = preflight.complaints(small, sign, {"w1": GOOD, "w2": worker}, {"w1": Seen(), "w2": seen})
    assert said in sentence
