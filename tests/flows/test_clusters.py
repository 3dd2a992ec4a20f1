"""The same recipe on every kind of cluster gives the same lake, bit for bit; and what a cluster lacks is told."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
import yaml
from command_line import Done, run_patchlake, running, wait_until

from patchlake.tasks.lake import digest
from patchlake.tasks.lake.arrays import existing_lake
from patchlake.tasks.lake.tables import Tables

Write = Callable[..., Path]
NEEDS_GPU = """
import os, time
from glob import glob
from pathlib import Path

import numpy as np

class Mean:
    "Mean of six frames, two of them before and three after: it needs its neighbours of other slots and units."
    version, channels, dtype, context_frames, needs_gpu = 1, ("mean",), "float32", (2, 3), True
    time_size = time_stride = 1
    attrs = {"units": ["grey level"]}

    def __init__(self, patches, frame_size):
        self.centres = ((frame_size[0] / 2,), (frame_size[1] / 2,))
        self.digest_parts = {}

    def __call__(self, frames):
        began = time.time()
        sums = self.sums(frames)
        means = np.convolve(sums, np.ones(6, dtype=np.int64), mode="valid") / (6 * frames[0].size)
        note(type(self).__name__, began)
        return means.astype(np.float32)[:, None, None, None]

    def sums(self, frames):
        "On a GPU, where there is a real one; whole numbers, so that the bits do not depend on it."
        if glob("/dev/nvidia[0-9]*"):
            import torch
            if torch.cuda.is_available():
                return torch.from_numpy(frames).cuda().sum(dim=(1, 2, 3), dtype=torch.int64).cpu().numpy()
        return frames.sum(axis=(1, 2, 3), dtype=np.int64)

class Plain(Mean):
    needs_gpu = False

class Wants(Plain):
    wants_gpu = True

def note(name, began):
    "Who computed, where, from when to when."
    if "NOTES" in os.environ:
        time.sleep(0.02)
        names = name, os.environ.get("SLURMD_NODENAME", ""), os.environ["CUDA_VISIBLE_DEVICES"]
        folder = Path(os.environ["NOTES"], *(word or "none" for word in names), str(os.getpid()))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{began}-{time.time()}").touch()
"""


@pytest.fixture(scope="module")
def corpus(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic clips and, where they are, three real ones."""
    folder = tmp_path_factory.mktemp("all") / "videos"
    shutil.copytree(small_corpus, folder)
    try:
        for name in ("apply_eye_makeup.avi", "archery.avi", "arm_wrestling.mp4"):
            shutil.copy(clips.shared_videos() / "clips" / name, folder)
    except pytest.skip.Exception:
        pass
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Run a recipe on a cluster; returns what the command said and where the lake is."""

    def on(cluster: dict[str, Any], **changes: Any) -> tuple[Done, Path]:
        folder = tmp_path_factory.mktemp("run")
        given: dict[str, Any] = {
            "name": "all",
            "lake": "./lake",
            "corpus": {"videos": str(corpus), "labels": "folder"},
            "clips": [{"method": "windows", "seconds": 1.0}],
            "frames": {"size": [48, 64]},
            "patches": {"size": [8, 16, 16]},
            "features": ["edges"],
            "units": {"slot_frames": 32, "slots": 1},
            "cluster": cluster,
        }
        (folder / "bright.py").write_text(NEEDS_GPU)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(given | changes))
        done = run_patchlake("run", str(folder / "recipe.yaml"), env={"PREFECT_API_URL": prefect_server})
        return done, folder / "lake" / "all"

    return on


@pytest.fixture(scope="module")
def wanted(run: Callable[..., Any]) -> str:
    """What one process gives."""
    return digest_of(*run({"kind": "local", "workers": 1, "dashboard": False}))


def digest_of(done: Done, lake: Path) -> str:
    assert done.code == 0, done.err
    return digest.digest(existing_lake(str(lake))).total


@pytest.fixture
def address(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A scheduler and two workers that were there before."""
    file, certificates = str(tmp_path / "scheduler.json"), str(tmp_path / "certificates")
    with ExitStack() as stack:
        stack.enter_context(
            running("scheduler", "--scheduler-file", file, "--tls", certificates, "--host", "127.0.0.1")
        )
        wait_until(lambda: Path(file).exists(), 30)
        stack.enter_context(running("worker", "--scheduler-file", file, "--tls", certificates, "--workers", "2"))
        yield {"kind": "address", "scheduler_file": file, "tls": certificates}


@pytest.fixture(params=["local", "ssh", "address"])
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Two workers of each kind, over TLS."""
    if request.param == "local":
        return {"kind": "local", "workers": 2, "tls": True, "dashboard": False}
    if request.param == "ssh":
        return {**request.getfixturevalue("sshd"), "workers": 2, "tls": True, "memory": "2 GiB"}
    found: dict[str, Any] = request.getfixturevalue("address")
    return found


def test_every_cluster_gives_the_same_lake(run: Callable[..., Any], wanted: str, cluster: dict[str, Any]) -> None:
    assert digest_of(*run(cluster)) == wanted


def test_slurm_gives_it_too_and_takes_all_jobs_away_in_the_midst(
    run: Callable[..., Any], wanted: str, slurm: dict[str, Any], tmp_path: Path
) -> None:
    """Two nodes. Once the units are planned one job is cancelled, the other requeued: others come, nothing is lost."""
    planned = "lake/all/arrays.zarr/pixels/frames/zarr.json"
    with ThreadPoolExecutor(1) as pool:
        cluster = {**slurm, "workers": 2, "tls": True, "directives": ["--exclusive"]}
        future = pool.submit(run, cluster, lake=str(tmp_path / "lake"))
        wait_until(lambda: future.done() or any(tmp_path.glob(planned)), 60)
        assert not future.done(), future.result()[0].err
        first, second = sorted(jobs_of("squeue", "-h", "-o", "%i"), key=int)[-2:]
        assert sorted(jobs_of("squeue", "-h", "-o", "%N")) == ["n1", "n2"]
        subprocess.run(["scancel", first], check=True)
        subprocess.run(["scontrol", "requeue", second], check=True)
        done, _ = future.result()
    assert digest_of(done, tmp_path / "lake" / "all") == wanted
    known = [word.split("=")[1] for word in jobs_of("scontrol", "-o", "show", "jobs") if word.startswith("JobId=")]
    assert max(map(int, known)) > int(second), "the run was too quick to be disturbed"
    wait_until(lambda: not jobs_of("squeue", "-h", "-o", "%i"), 30)


def test_a_recipe_that_needs_a_gpu_is_refused_where_there_is_none(run: Callable[..., Any]) -> None:
    done, lake = run({"kind": "local", "workers": 1, "gpus": 0}, features=["bright:Mean"])
    assert done.code == 1
    assert "No worker offers {'GPU': 1}: the local cluster has no GPU. Set cluster.gpus" in done.err.splitlines()[-1]
    assert len(done.err.splitlines()) == 1, "said before Prefect and the cluster start"
    assert not lake.exists()


DEEP = ["edges", "bright:Plain", "bright:Mean", "bright:Wants"]


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make a folder for the features' notes."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("notes")
        os.environ["NOTES"] = str(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def wanted_deep(run: Callable[..., Any], notes: Callable[[], Path]) -> Iterator[str]:
    """What one process that owns a GPU (a pretended one, where there is none) gives: one unit does it all."""
    folder = notes()
    done, lake = run({"kind": "local", "workers": 1, "gpus": 1, "dashboard": False}, features=DEEP)
    found = digest_of(done, lake)
    assert set(spans_in(folder)) == {("Plain", "none", "0"), ("Mean", "none", "0"), ("Wants", "none", "0")}
    assert not decode_seconds(lake, "Mean"), "it had its frames from the unit that decoded them"
    yield found
    os.environ.pop("NOTES")


@pytest.mark.long
def test_a_mixed_cluster_computes_apart_what_takes_a_gpu(
    run: Callable[..., Any], wanted_deep: str, notes: Callable[[], Path]
) -> None:
    """Two workers, one with a GPU: both decode, one computes what takes a GPU."""
    folder = notes()
    done, lake = run({"kind": "local", "workers": 2, "gpus": 1, "dashboard": False}, features=DEEP)
    assert digest_of(done, lake) == wanted_deep
    assert "measured / light" in done.out
    seen = set(spans_in(folder))
    assert {device for name, _, device in seen if name != "Plain"} == {"0"}
    assert ("Plain", "none", "none") in seen
    assert decode_seconds(lake, "Mean"), "apart, it reads frames itself"


@pytest.mark.long
def test_slurm_s_gpus_have_a_unit_each_while_other_jobs_decode(
    run: Callable[..., Any], slurm: dict[str, Any], wanted_deep: str, notes: Callable[[], Path]
) -> None:
    folder = notes()
    assert digest_of(*run({**slurm, "workers": 3, "gpus": 2}, features=DEEP)) == wanted_deep
    seen = spans_in(folder)
    on_gpus = {place: spans for place, spans in seen.items() if place[0] != "Plain"}
    assert {device for _, _, device in on_gpus} <= {"0", "1"}
    assert {node for _, node, _ in seen} <= {"n1", "n2"}
    for _, node, device in on_gpus:
        spans = sorted(span for place, held in seen.items() for span in held if place[1:] == (node, device))
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), "two units on one device"


def spans_in(folder: Path) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """Return (feature, node, device) -> when it computed there."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for path in folder.glob("*/*/*/*/*"):
        name, node, device, _, times = path.relative_to(folder).parts
        began, ended = map(float, times.split("-"))
        found.setdefault((name, node, device), []).append((began, ended))
    return found


def decode_seconds(lake: Path, product: str) -> float:
    rows = Tables(existing_lake(str(lake))).receipts.rows()
    return sum(row["decode_seconds"] for row in rows if row["product"] == product)


def test_a_worker_with_another_folder_of_the_lake_s_name_is_found_out(run: Callable[..., Any], tmp_path: Path) -> None:
    """The worker sees a file system of its own where the lake is: what it wrote there would be lost."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs mount namespaces, which containers may lack; tests/tasks/unit/test_preflight.py is its twin")
    file, lake = str(tmp_path / "scheduler.json"), tmp_path / "lake"
    lake.mkdir()
    with running("scheduler", "--scheduler-file", file, "--host", "127.0.0.1"):
        wait_until(lambda: Path(file).exists(), 30)
        with running("worker", "--scheduler-file", file, shell_before=f"mount -t tmpfs none {lake}"):
            done, _ = run({"kind": "address", "scheduler_file": file}, lake=str(lake))
    assert done.code == 1
    assert "can't use the lake" in done.err.splitlines()[-1]
    assert "the lake there is not the one here" in done.err.splitlines()[-1]


def jobs_of(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
