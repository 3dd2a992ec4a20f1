"""Harm at two seeded moments of each kind, in runs of over 200 units: nothing is lost (`make faults` does more)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import harm
import pytest
from harm import KINDS, Moment


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harm.render_corpus(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def unbroken(corpus: Path, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken")
    env = {"PREFECT_API_URL": prefect_server}
    done = harm.run_patchlake("run", harm.recipe(folder / "recipe.yaml", corpus, str(folder)), env=env)
    assert done.code == 0, done.err
    assert " in 202 units" in done.out
    return harm.run_patchlake("digest", str(folder / "small"), env=env).out


SHORT = ("worker", "flow")
"""In every `make test`."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in SHORT else pytest.mark.long) for kind in KINDS]
)
def test_nothing_is_lost(
    kind: str, corpus: Path, unbroken: str, tmp_path: Path, prefect_server: str, request: pytest.FixtureRequest
) -> None:
    env = {"PREFECT_API_URL": prefect_server, **(request.getfixturevalue("s3") if kind == "store" else {})}
    seed = int(os.environ.get("PATCHLAKE_SEED", zlib.crc32(kind.encode())))
    moments = [Moment.seeded(kind, seed), Moment.seeded(kind, seed + 1)]
    harm.suffer(tmp_path / "place", corpus, moments, env=env, wanted=unbroken)
