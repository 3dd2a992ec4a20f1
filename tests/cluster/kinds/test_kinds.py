"""What each kind takes, what it refuses, and what becomes of it: job scripts, SSH options."""

import builtins
import subprocess

import pytest
from pydantic import ValidationError

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds import jobqueue
from patchlake.cluster.kinds.job_script import walltime_text
from patchlake.cluster.kinds.registry import parse

PUBLIC = {"slurm": "account", "pbs": "account", "lsf": "project", "sge": "project", "oar": "project"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "slurm", "partition": "gpu;rm"}, "partition"),
        ({"kind": "slurm", "partition": "a b"}, "partition"),
        ({"kind": "slurm", "account": "x\n#SBATCH --wrap=id"}, "account"),
        ({"kind": "slurm", "account": "$(id)"}, "account"),
        ({"kind": "slurm", "constraint": "a'b"}, "constraint"),
        ({"kind": "slurm", "folder": "/tmp/a folder"}, "folder"),
        ({"kind": "slurm", "directives": ["--qos=a;b"]}, "directives"),
        ({"kind": "slurm", "directives": ["rm -rf"]}, "directives"),
        ({"kind": "slurm", "prologue": ["true\nfalse"]}, "one shell line"),
        ({"kind": "slurm", "prologue": ["export AWS_SECRET_ACCESS_KEY=abc"]}, "AWS_SECRET_ACCESS_KEY has no place"),
        ({"kind": "a.B", "options": {"env": [{"x": 1}, {"HF_TOKEN": "abc"}]}}, "HF_TOKEN has no place"),
        ({"kind": "slurm", "partitoin": "gpu"}, "unknown key"),
        ({"kind": "slurm", "hosts": ["a"]}, "unknown key"),
        ({"kind": "slurm", "gpus": 2}, "gpus is 2, but workers is 1"),
        ({"kind": "slurm", "gpus": 1, "workers": {"min": 1, "max": 2}}, "gpus is 1 of 2 workers: expected 0 or 2"),
        ({"kind": "pbs", "gpus": 1, "workers": 2, "directives": ["-l ngpus=1"]}, "only slurm"),
        ({"kind": "slurm", "gres": "gpu:a100:1"}, "gpus is 0"),
        ({"kind": "pbs", "constraint": "avx2"}, "is for slurm"),
        ({"kind": "pbs", "gpus": 1}, "how pbs asks for a GPU"),
        ({"kind": "slurm", "walltime": "soon"}, "walltime is 'soon'"),
        ({"kind": "slurm", "memory": "much"}, "memory is 'much'"),
        ({"kind": "slurm", "workers": {"min": 3, "max": 2}}, "expected min <= max"),
        ({"kind": "ssh"}, "hosts"),
        ({"kind": "ssh", "hosts": ["a"], "gpus": 2}, "1 workers"),
        ({"kind": "address"}, "no address is given"),
        ({"kind": "address", "address": "tcp://a:1", "scheduler_file": "f"}, "both are given"),
        ({"kind": "address", "address": "tcp://a:1", "tls": "folder"}, "expected tls://"),
        ({"kind": "address", "address": "tls://a:1", "tls": True}, "has its certificates"),
        ({"kind": "a.B", "tls": True}, "in options"),
        ({"kind": "os;x"}, "expected one of: local, ssh"),
    ],
)
def test_bad_specs_are_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        parse(given)


@pytest.mark.parametrize("kind", jobqueue.CLASSES)
def test_every_queue_gets_a_script_that_a_shell_can_read(kind, tmp_path, monkeypatch):
    """All queues are written by one file; bash checks the script's grammar, nothing is submitted."""
    import dask_jobqueue

    monkeypatch.chdir(tmp_path)
    given = {"kind": kind, "walltime": "1-12:00:00", "memory": "3 GiB", "folder": str(tmp_path), "interface": "lo"}
    given |= {"python": "/opt/my python/bin/python", "prologue": ["module load 'a b'"]}
    given |= {"options": {"disk": "1 GB"}} if kind == "htcondor" else {"partition": "long"}
    given |= {"account": "mine"} if kind in PUBLIC else {}
    spec = parse(given)
    options = jobqueue.cluster_options(spec, None, tmp_path)
    options.pop("scheduler_options")
    options.pop("silence_logs")
    job = getattr(dask_jobqueue, jobqueue.CLASSES[kind]).job_cls("tcp://10.0.0.1:1", name="one", **options)
    script = job.job_script()
    assert "patchlake.cluster.worker.program tcp://10.0.0.1:1 --name one" in script
    assert "'/opt/my python/bin/python'" in script
    assert "--lifetime 129600" in script
    if kind != "htcondor":
        assert "long" in script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    if kind in PUBLIC:
        assert "mine" in script


def test_a_number_of_minutes_is_spelled_as_the_queue_wants_it():
    assert walltime_text(36 * 3600 + 61) == "36:01:01"


@pytest.mark.parametrize(
    ("spec", "package", "extra"),
    [
        ({"kind": "slurm", "interface": "lo"}, "dask_jobqueue", "patchlake[jobqueue]"),
        ({"kind": "ssh", "hosts": ["a"]}, "asyncssh", "patchlake[ssh]"),
        ({"kind": "dask_kubernetes.operator.KubeCluster"}, "dask_kubernetes", "patchlake[kubernetes]"),
        ({"kind": "local", "tls": True}, "cryptography", "patchlake[tls]"),
    ],
)
def test_a_missing_extra_is_named(spec, package, extra, monkeypatch):
    """As where the package is not installed: its import fails."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with connect(parse(spec)) as cluster, pytest.raises(ClusterError) as error:
        cluster.require(None)
    assert extra in str(error.value)
