"""Bad recipes and bad usage: one sentence that names the key, exit code 2, nothing started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_patchlake

Write = Callable[..., Path]
CASES: dict[str, tuple[dict[str, object], list[str]]] = {
    "unknown key": ({"frames": {"siez": [48, 64]}}, ["frames.siez", "unknown key", "[48, 64]", "size"]),
    "wrong type": ({"units": {"slots": "many"}}, ["units.slots", "'many'", "integer"]),
    "missing folder": ({"corpus": {"videos": "/no/such/place"}}, ["corpus.videos", "/no/such/place", "expected"]),
    "patch larger than the frame": ({"patches": {"size": [8, 64, 16]}}, ["patches.size[1]", "64", "at most 48"]),
    "stride that does not divide": (
        {"patches": {"size": [7, 16, 16]}, "units": {"slot_frames": 512}},
        ["patches.stride[0]", "got 7", "512"],
    ),
    "unknown feature": ({"features": ["egdes"]}, ["features[0]", "egdes", "edges"]),
    "unknown cluster key": ({"cluster": {"kind": "local", "wrokers": 2}}, ["cluster.wrokers", "workers"]),
    "key of another kind": ({"cluster": {"kind": "slurm", "gpu": 1}}, ["cluster.gpu", "did you mean gpus?"]),
    "unknown kind": ({"cluster": "moon"}, ["cluster.kind", "'moon'", "expected one of: local, ssh, address, slurm"]),
    "two lines in a job script": ({"cluster": {"kind": "slurm", "account": "a\n#"}}, ["cluster.account", "script"]),
    "secret": ({"cluster": {"kind": "slurm", "prologue": ["export X_TOKEN=y"]}}, ["X_TOKEN", "environment"]),
    "model that is not there": ({"features": [{"kind": "hf", "path": "/no/model"}]}, ["/no/model", "config.json"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_recipe_is_one_error(case: str, recipe: Write, tmp_path: Path) -> None:
    changes, words = CASES[case]
    done = run_patchlake("run", str(recipe(**changes)), env={"PREFECT_API_URL": "http://127.0.0.1:1/api"})
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err
    assert not (tmp_path / "lake").exists()


def test_a_folder_without_videos_is_an_error_of_its_own(recipe: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_patchlake("run", str(recipe(corpus={"videos": str(tmp_path / "empty")})))
    assert done.code == 2
    assert "no video in" in done.err


def test_usage(tmp_path: Path) -> None:
    assert run_patchlake("run").code == 2
    assert run_patchlake("run", str(tmp_path / "none.yaml")).code == 2
    assert run_patchlake("digest", str(tmp_path)).code == 2
    assert "--scheduler-file" in run_patchlake("worker", "--help").out
    assert "--scheduler-file" in run_patchlake("scheduler").err


def test_cluster_names_another_kind(recipe: Write) -> None:
    """The recipe's keys for a local cluster are dropped with its kind, or `workers: auto` would be an error."""
    done = run_patchlake("run", str(recipe()), "--cluster", "ssh", "--set", "cluster.workers=2")
    assert done.code == 2
    assert "cluster.hosts: missing" in done.err
