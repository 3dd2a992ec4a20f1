"""Jobs of a real Slurm: where they run, what they own, what happens when they end."""

import itertools
import os
import subprocess
import sys
from functools import partial

import jobs
import pytest

from patchlake.cluster import coordinator_job
from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.registry import parse
from patchlake.cluster.spec import GPU


@pytest.fixture(autouse=True)
def _lost_soon(monkeypatch):
    from patchlake.cluster.kinds import jobqueue

    monkeypatch.setattr(jobqueue, "LOST_WORKER_SECONDS", 3)
    monkeypatch.setattr(jobqueue, "IDLE_SECONDS", 2)


def squeue(*options):
    return subprocess.run(["squeue", "-h", *options], capture_output=True, text=True, check=True).stdout.split()


def test_a_gpu_is_one_worker_s_and_lost_jobs_are_replaced(slurm, tmp_path):
    """Three jobs on two nodes: one is cancelled, one requeued, while units run that need a GPU."""
    spec = parse({**slurm, "workers": 3, "gpus": 3, "walltime": "10 m"})
    with connect(spec, setup=partial(jobs.note_setup, str(tmp_path)), packages=["patchlake"]) as cluster:
        ends = []
        work = partial(jobs.note_device, folder=str(tmp_path))
        for outcome in cluster.run(work, range(60), resources=GPU):
            ends.append(outcome)
            if len(ends) == 10:
                jobs.wait_until(lambda: cluster.num_workers == 3)
                first, second, third = sorted(squeue("-o", "%i"), key=int)
                subprocess.run(["scancel", first], check=True)
                subprocess.run(["scontrol", "requeue", second], check=True)
        assert sorted(o.item for o in ends) == list(range(60))
        assert all(o.ok for o in ends), [o.error for o in ends if not o.ok]
        jobs.wait_until(lambda: cluster.num_workers == 3)
        now = set(cluster.each_worker(jobs.environment, "SLURM_JOB_ID").values())
        assert third in now
        assert not now & {first}
    spans = {}
    for path in tmp_path.glob("span-*"):
        node, device, began, ended = path.read_text().split()
        assert device in ("0", "1")
        spans.setdefault((node, device), []).append((float(began), float(ended)))
    assert len(spans) >= 3
    for on_device in spans.values():
        on_device.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(on_device)), "two units on one device"
    jobs.wait_until(lambda: not squeue())


def test_no_gpu_is_refused_before_anything_is_submitted(slurm):
    with connect(parse({**slurm, "workers": 2})) as cluster:
        with pytest.raises(ClusterError, match=r"No worker offers .*GPU.*slurm cluster has no GPU"):
            cluster.require(GPU)
        assert not cluster.started
    assert squeue() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partition": "none"}, "invalid partition"),
        ({"python": "/nowhere/python"}, r"ended before its worker joined(?s:.*)/nowhere/python"),
    ],
)
def test_the_error_says_why_slurm_refuses(slurm, changes, said):
    with connect(parse({**slurm, **changes})) as cluster, pytest.raises(ClusterError, match=said):
        cluster.require(None)
    jobs.wait_until(lambda: not squeue())


def test_no_secret_is_in_a_job_script_and_all_listen_on_loopback(slurm, monkeypatch):
    """What the environment holds reaches the worker, but not by the script; docs/clusters.md lists the ports."""
    before = jobs.ports_of(os.getpid())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-in-the-environment")
    prologue = ["export GREETING='two  words; $HOME \"quoted\"'"]
    given = {"workers": 1, "tls": True, "dashboard": True, "prologue": prologue}
    with connect(parse({**slurm, **given})) as cluster:
        cluster.require(None)
        here = jobs.ports_of(os.getpid()) - before
        (pid,) = cluster.each_worker(os.getppid).values()
        there = jobs.ports_of(pid)
        assert {ip for ip, _ in here | there} == {"127.0.0.1"}
        assert len(here) == 2  # scheduler, dashboard
        assert len(there) == 3  # nanny, worker, the worker's health page
        (secret,) = cluster.each_worker(jobs.environment, "AWS_SECRET_ACCESS_KEY").values()
        (greeting,) = cluster.each_worker(jobs.environment, "GREETING").values()
        script = subprocess.run(
            ["scontrol", "write", "batch_script", squeue("-o", "%i")[0], "-"], capture_output=True, text=True
        ).stdout
        (folder,) = [entry for entry in os.scandir(slurm["folder"]) if entry.name.startswith("tls-")]
        assert folder.stat().st_mode & 0o777 == 0o700
    assert secret == "hidden-in-the-environment"
    assert greeting == 'two  words; $HOME "quoted"'
    assert "patchlake.cluster.worker.program" in script
    assert "hidden" not in script
    assert "PRIVATE" not in script
    assert not [entry for entry in os.scandir(slurm["folder"]) if entry.name.startswith("tls-")]


def test_jobs_with_and_without_a_gpu_in_one_cluster(slurm):
    """The one that has it is cancelled: its place is taken by another one that has."""
    given = {"workers": 3, "gpus": 1, "walltime": "10 m"}
    with connect(parse({**slurm, **given}), packages=["patchlake"]) as cluster:
        cluster.require(GPU)
        jobs.wait_until(lambda: cluster.num_workers == 3)
        devices = cluster.each_worker(jobs.environment, "CUDA_VISIBLE_DEVICES")
        (owner,) = cluster.workers(GPU)
        assert sorted(devices.values()) == ["", "", devices[owner]]
        assert devices[owner] in ("0", "1")
        job = cluster.each_worker(jobs.environment, "SLURM_JOB_ID")[owner]
        subprocess.run(["scancel", job], check=True)
        jobs.wait_until(lambda: cluster.workers(GPU) not in ([], [owner]), 60)
        outcomes = list(cluster.run(jobs.environment_of, range(4), resources=GPU))
        assert {o.result for o in outcomes} <= {"0", "1"}
        jobs.wait_until(lambda: cluster.num_workers == 3)
        assert len(cluster.workers(GPU)) == 1


def test_a_coordinator_s_job_gets_its_words_unchanged(slurm, tmp_path):
    """Quotes, blanks, a command and a line break: none of it is shell, in variables and in arguments."""
    odd = f"a 'b' \"c\"  $(touch {tmp_path / 'touched'}) `id` ;#\n#SBATCH --wrap=id \\ $HOME"
    show = "import os, sys; print(repr((os.environ['GIVEN'], sys.argv[1:])))"
    spec, log = parse({**slurm, "partition": "main"}), tmp_path / "a log"
    coordinator_job.submit(spec, "one", [sys.executable, "-c", show, odd], log, {"GIVEN": odd})
    jobs.wait_until(lambda: log.exists() and log.read_text())
    assert log.read_text() == f"{(odd, [odd])!r}\n"
    assert not (tmp_path / "touched").exists()
    jobs.wait_until(lambda: not squeue())


def test_elastic_jobs_come_with_the_work_and_go(slurm):
    with connect(parse({**slurm, "workers": {"min": 1, "max": 3}})) as cluster:
        cluster.require(None)
        assert cluster.size == 3
        most = 0
        for outcome in cluster.run(jobs.double_slowly, range(90)):
            assert outcome.ok
            most = max(most, len(squeue("-o", "%i")))
        assert 2 <= most <= 3
        jobs.wait_until(lambda: cluster.num_workers == 1, 60)


def test_a_job_that_ends_with_finished_items_is_replaced(slurm, tmp_path):
    """Their results were on its worker: they are fetched only once somebody has computed them again."""
    python, marker = jobs.failing_python(tmp_path)
    with connect(parse({**slurm, "workers": 1, "python": python})) as cluster:
        outcomes = cluster.run(jobs.double, range(20))
        ends = [next(outcomes).item]
        jobs.wait_until(lambda: not any(cluster.client.processing().values()))
        marker.touch()  # and its first replacement fails, so that somebody has to see to that
        subprocess.run(["scancel", *squeue("-o", "%i")], check=True)
        jobs.wait_until(lambda: cluster.num_workers == 0)
        ends += [outcome.item for outcome in outcomes]
        assert sorted(ends) == list(range(20))
        assert not marker.exists()


def test_a_killed_coordinator_leaves_no_job(slurm, tmp_path):
    script = tmp_path / "coordinator.py"
    script.write_text(
        "import jobs\n"
        "from functools import partial\n"
        "from patchlake.cluster.connect import connect\n"
        "from patchlake.cluster.kinds.registry import parse\n"
        "if __name__ == '__main__':\n"
        f"    with connect(parse({slurm!r})) as cluster:\n"
        f"        list(cluster.run(partial(jobs.note_begin_and_sleep, folder={str(tmp_path)!r}, seconds=600), [1]))\n"
    )
    coordinator_job = subprocess.Popen([sys.executable, script])
    try:
        jobs.wait_until(lambda: (tmp_path / "item-1").exists())
    finally:
        coordinator_job.kill()
        coordinator_job.wait()
    jobs.wait_until(lambda: not squeue(), 30)


def test_a_replacement_that_does_not_start_is_replaced_too(slurm, tmp_path):
    python, marker = jobs.failing_python(tmp_path)
    with connect(parse({**slurm, "workers": 1, "python": python})) as cluster:
        ends = []
        for outcome in cluster.run(jobs.double_slowly, range(20)):
            ends.append(outcome.item)
            if len(ends) == 1:
                marker.touch()
                subprocess.run(["scancel", *squeue("-o", "%i")], check=True)
        assert sorted(ends) == list(range(20))
        assert not marker.exists()
