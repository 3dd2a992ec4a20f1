"""Workers over SSH, on a real sshd."""

import os
import time

import jobs
import psutil
import pytest

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds import ssh
from patchlake.cluster.kinds.registry import parse
from patchlake.cluster.spec import GPU


def programs():
    """List the processes at the far end of our connections."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "patchlake.cluster.worker.program" in words and "--stdin" in words:
            found.append(process)
    return found


def test_workers_own_their_gpus_and_a_lost_one_comes_back(sshd, monkeypatch, tmp_path):
    """One worker's program is killed, connection and all: its place is filled again, by the second try."""
    python, marker = jobs.failing_python(tmp_path)
    monkeypatch.setattr(ssh, "LOST_WORKER_SECONDS", 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    spec = parse(
        {**sshd, "workers": 2, "gpus": 1, "tls": True, "env": ["AWS_*", "CUDA_VISIBLE_DEVICES"], "python": python}
    )
    before = {process.pid for process in programs()}
    with connect(spec, packages=["patchlake"]) as cluster:
        cluster.require(GPU)
        assert cluster.num_workers == 2
        assert sorted(cluster.each_worker(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["", "5"]
        assert set(cluster.each_worker(os.getenv, "AWS_SECRET_ACCESS_KEY").values()) == {"hidden"}
        mine = [process for process in programs() if process.pid not in before]
        assert len(mine) == 2
        assert not any("hidden" in word or "PRIVATE" in word for process in mine for word in process.cmdline())
        names = {worker["name"] for worker in cluster.info().values()}
        marker.touch()
        mine[0].kill()
        jobs.wait_until(lambda: cluster.num_workers == 1)
        outcomes = list(cluster.run(time.sleep, [0.1] * 90))
        assert all(outcome.ok for outcome in outcomes)
        jobs.wait_until(lambda: cluster.num_workers == 2)
        assert not marker.exists()
        assert {worker["name"] for worker in cluster.info().values()} == names
    jobs.wait_until(lambda: not [p for p in programs() if p.pid not in before and p.status() != psutil.STATUS_ZOMBIE])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"known_hosts": os.devnull}, "No worker starts on 127.0.0.1 over SSH .*not trusted"),
        ({"key": "other"}, "Permission denied"),
        ({"python": "/nowhere/python"}, "(?s)the program ended.*/nowhere/python"),
    ],
)
def test_the_error_says_why_a_host_refuses(sshd, changes, said, tmp_path):
    if "key" in changes:
        import asyncssh

        changes = {"key": str(tmp_path / "other")}
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(changes["key"])
    with connect(parse({**sshd, **changes})) as cluster, pytest.raises(ClusterError, match=said):
        cluster.require(None)
