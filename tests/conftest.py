"""Real parts for tests: the command line in its own process group, a Prefect server, an S3 server, small corpora."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numbered_clips as clips
import pytest
import yaml
import zarr
from command_line import Done, answers, end_group, free_port, run_patchlake, wait_until

from patchlake.flows.control import server

os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"


TOGETHER = ("test_clusters.py", "test_slurm.py", "test_ssh.py")
"""Files whose tests look at all processes of one Slurm or sshd."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With xdist (`-n 2 --dist loadgroup`) a file's tests share a process, and so its fixtures; harm is spread."""
    for item in items:
        name = "clusters" if item.path.name in TOGETHER else str(item.path)
        if item.path.name != "test_faults.py" or item.path.parent.name != "flows":
            item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Runs are written down here, not in the user's own folder."""
    os.environ["PATCHLAKE_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What dead runs of other tests left is not this test's to reap; no temporary Prefect server outlives its test."""
    monkeypatch.setenv("PATCHLAKE_HOME", str(tmp_path_factory.mktemp("home")))
    yield
    for kept in server.known():
        kept.end()


_ZARR = copy.deepcopy(zarr.config.config)


@pytest.fixture(autouse=True)
def _same_zarr_config() -> Iterator[None]:
    """A worker's settings (`worker.setup`), made by a test or by a fixture of its module, end with the test."""
    yield
    zarr.config.config.clear()
    zarr.config.config.update(copy.deepcopy(_ZARR))


@pytest.fixture
def patchlake(prefect_server: str) -> Callable[..., Done]:
    def run(*args: str, env: dict[str, str] | None = None) -> Done:
        return run_patchlake(*args, env={"PREFECT_API_URL": prefect_server, **(env or {})})

    return run


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server for the whole session: an ephemeral one costs 8 s a run."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    env = {**os.environ, "PREFECT_HOME": str(home)}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/api/health") or server.poll() is not None, 90)
        assert server.poll() is None, (home / "server.log").read_text()
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            end_group(server.pid)


@pytest.fixture(scope="session")
def _prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the database of temporary Prefect servers: making it takes one 6 CPU seconds, so they share it."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def no_server_named(_prefect_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither environment nor files name a Prefect server: runs with work start a temporary one."""
    monkeypatch.setenv("PREFECT_HOME", str(_prefect_home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server (Ceph's RADOS Gateway) with a bucket `lakes`: its environment."""
    if shutil.which("radosgw") is None:
        clips.unavailable("needs a S3 server (Debian: apt-get install radosgw ceph-mon ceph-osd ceph-common)")
    script = Path(__file__).parent / "support" / "infra" / "ceph_rgw_local.sh"
    folder = tmp_path_factory.mktemp("ceph")
    lines = subprocess.run([script, "start", folder], check=True, capture_output=True, text=True, timeout=120).stdout
    try:
        yield dict(part.split("=", 1) for part in lines.removeprefix("export ").split())
    finally:
        subprocess.run([script, "stop", folder], check=True, timeout=60)


@pytest.fixture(scope="session")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Slurm of two nodes with two CPUs and two fake GPUs each; yields what SLURM_CONF has to be."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        clips.unavailable("needs Slurm (Debian: apt-get install slurm-wlm munge)")
    script = Path(__file__).parent / "support" / "infra" / "slurm_local.sh"
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has 108 bytes at most
    options = {"SLURM_LOCAL_NODES": "2", "SLURM_LOCAL_CPUS": "2", "SLURM_LOCAL_GPUS": "2", "SLURM_LOCAL_MEM": "16000"}
    try:
        subprocess.run([script, "start", folder], check=True, timeout=60, env={**os.environ, **options})
        yield str(folder / "slurm.conf")
    finally:
        subprocess.run([script, "stop", folder], check=True, timeout=60)


@pytest.fixture
def slurm(slurm_conf: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """Make Slurm's commands reach the session's Slurm; returns the keys of `cluster:` that a test needs there."""
    monkeypatch.setenv("SLURM_CONF", slurm_conf)
    options = {"interface": "lo", "folder": str(tmp_path / "jobs"), "wait": "60 s", "grace": "3 s", "memory": "2 GiB"}
    return {"kind": "slurm", "dashboard": False, **options}


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """A real sshd on 127.0.0.1 with keys of its own; yields the keys of `cluster:` that reach it."""
    if not os.path.exists("/usr/sbin/sshd"):
        clips.unavailable("needs sshd (Debian: apt-get install openssh-server)")
    script = Path(__file__).parent / "support" / "infra" / "sshd_local.sh"
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    subprocess.run([script, "start", folder, str(port)], check=True, timeout=30)
    try:
        wait_until(lambda: (folder / "sshd.pid").exists(), 10)
        keys = {"key": str(folder / "id"), "known_hosts": str(folder / "known_hosts")}
        yield {"kind": "ssh", "hosts": ["127.0.0.1"], "port": port, "interface": "lo", "dashboard": False, **keys}
    finally:
        subprocess.run([script, "stop", folder], check=True, timeout=30)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of two folders: short ones that share slots, and one that is longer than three slots of 32."""
    root = tmp_path_factory.mktemp("corpus")
    lengths = {"left/a.mp4": 20, "left/b.mkv": 31, "left/long.mp4": 110, "right/c.mp4": 17, "right/d.mp4": 40}
    for name, num_frames in lengths.items():
        (root / name).parent.mkdir(exist_ok=True)
        clips.render(root / name, num_frames=num_frames, gop=12, bframes=2)
    (root / "right" / "not_a_video.mp4").write_bytes(b"this is text" * 50)
    return root


@pytest.fixture
def recipe(tmp_path: Path, small_corpus: Path) -> Callable[..., Path]:
    """Write a recipe on the small corpus, with changes, and return its path."""

    def write(**changes: object) -> Path:
        return write_recipe(tmp_path, small_corpus, **changes)

    return write


def write_recipe(folder: Path, corpus: Path, /, **changes: object) -> Path:
    """Write a recipe with a lake beside it, and return its path."""
    base: dict[str, object] = {
        "name": "small",
        "lake": str(folder / "lake"),
        "corpus": {"videos": str(corpus), "labels": "folder"},
        "clips": [{"method": "windows", "seconds": 1.0}],
        "frames": {"size": [48, 64]},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges", "flow"],
        "units": {"slot_frames": 32, "slots": 2},
        "cluster": {"kind": "local", "workers": 2, "dashboard": False},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(base | changes))
    return path


@pytest.fixture(scope="session")
def _run_once(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, prefect_server: str) -> tuple[Done, Path]:
    """Run the recipe of the small corpus, unchanged, once for all tests that begin with its lake."""
    folder = tmp_path_factory.mktemp("once")
    path = write_recipe(folder, small_corpus)
    return run_patchlake("run", str(path), env={"PREFECT_API_URL": prefect_server}), folder / "lake"


@pytest.fixture
def first_run(_run_once: tuple[Done, Path], tmp_path: Path) -> Done:
    """What `patchlake run` of the unchanged recipe said; tmp_path / "lake" is a copy of the lake that it wrote."""
    done, lake = _run_once
    shutil.copytree(lake, tmp_path / "lake")
    return done
