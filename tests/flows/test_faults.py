"""Harm at two seeded moments of each kind, in runs of over 200 units: nothing is lost (`make faults` does more)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import faulty_runs as harmed
import pytest
from fault_kinds import KINDS, Moment
from undisturbed_run import Unbroken, render_corpus


@pytest.fixture(scope="module")
def unbroken(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    corpus = render_corpus(tmp_path_factory.mktemp("many"))
    return Unbroken.run(tmp_path_factory.mktemp("unbroken"), corpus, {"PREFECT_API_URL": prefect_server})


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(
    kind: str, unbroken: Unbroken, tmp_path: Path, prefect_server: str, request: pytest.FixtureRequest
) -> None:
    env = {"PREFECT_API_URL": prefect_server}
    if KINDS[kind].needs == "AWS_ENDPOINT_URL":
        env |= request.getfixturevalue("s3")
    if KINDS[kind].needs == "SLURM_CONF":
        env |= {"SLURM_CONF": request.getfixturevalue("slurm_conf")}
    seed = int(os.environ.get("PATCHLAKE_SEED", zlib.crc32(kind.encode())))
    harmed.suffer(
        tmp_path / "place", [Moment.seeded(kind, seed), Moment.seeded(kind, seed + 1)], env=env, unbroken=unbroken
    )
