"""Harm at two seeded moments of each kind, in runs of more than 200 units: nothing is lost (`make faults` does more)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import harm
import pytest
from command import Done
from harm import KINDS, Moment

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harm.render_corpus(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def unbroken(corpus: Path, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken")
    env = {"PREFECT_API_URL": prefect_server}
    done = harm.run_patchlake("run", harm.recipe(folder / "recipe.yaml", corpus, folder), env=env)
    assert done.code == 0, done.err
    assert " in 202 units" in done.out
    return harm.run_patchlake("digest", str(folder / "small"), env=env).out


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(
    kind: str, corpus: Path, unbroken: str, tmp_path: Path, patchlake: Run, prefect_server: str
) -> None:
    seed = int(os.environ.get("PATCHLAKE_SEED", zlib.crc32(kind.encode())))
    moments = [Moment.seeded(kind, seed), Moment.seeded(kind, seed + 1)]
    harm.suffer(tmp_path / "place", corpus, moments, api=prefect_server, wanted=unbroken, again=patchlake)
