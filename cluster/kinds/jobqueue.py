"""Jobs of a queueing system, one worker each, by dask-jobqueue; the scheduler is in this process."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import getpass
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import Client
from distributed.core import Status
from distributed.security import Security

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import QueueSpec
from patchlake.cluster.settings import CONFIG, own_host, scheduler_options
from patchlake.cluster.tls import open_security
from patchlake.cluster.worker.program import JOB_START, READY

CLASSES = {
    "slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster", "oar": "OARCluster",
    "moab": "MoabCluster", "htcondor": "HTCondorCluster",
}  # fmt: skip
CHARGED = {"lsf": "project", "sge": "project", "oar": "project"}
"""How queues call an account, where they do not call it that."""
LOST_WORKER_SECONDS = 10
"""A nanny restarts its worker sooner; after this time a job counts as lost, and another is submitted."""
IDLE_SECONDS = 10
"""An elastic cluster gives a job up after so long."""
MEMORY_SHARE = 0.85
"""Of a job's memory, what its worker may take: the nanny and the decoding child live there too."""


@contextmanager
def open_queue(spec: QueueSpec, name: str = "patchlake") -> Iterator[Client]:
    """Submit jobs and keep their number: lost ones are replaced. They are cancelled at the context's end."""
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise ClusterError(f"kind: {spec.kind} needs dask-jobqueue: pip install 'patchlake[jobqueue]'.") from error
    folder = folder_of(spec)
    config = {**CONFIG, "distributed.deploy.lost-worker-timeout": f"{LOST_WORKER_SECONDS}s"}
    with (
        dask.config.set(config),
        open_security(spec.tls, folder=str(folder)) as security,
        class_of(spec, folder, name)(**cluster_options(spec, security, folder, name)) as cluster,
    ):
        minimum, maximum = spec.size()
        cluster.sync(_submit, cluster, minimum)
        # Static scale() would never replace a lost job. Any backlog is a reason to grow: only so much is in flight.
        cluster.adapt(minimum=minimum, maximum=maximum, interval="1s", wait_count=IDLE_SECONDS, target_duration="10ms")
        with Client(cluster, set_as_default=False) as client:
            yield client


def class_of(spec: QueueSpec, folder: Path, name: str) -> Any:
    """Return dask-jobqueue's class; where only some jobs have a GPU, one whose next job has one if too few have."""
    import dask_jobqueue

    found = getattr(dask_jobqueue, CLASSES[spec.kind])
    if spec.gpus in (0, spec.size()[1]):
        return found
    plain = job_options(spec, folder, name, gpus=False)
    without = {key: plain[key] for key in ("job_extra_directives", "worker_extra_args")}

    class Mixed(found):  # type: ignore[misc, valid-type]
        def new_worker_spec(self) -> dict[str, Any]:
            ((name, job),) = super().new_worker_spec().items()
            with_gpu = sum(other is self.new_spec for other in self.worker_spec.values())
            if with_gpu >= spec.gpus:
                job = {**job, "options": {**job["options"], **without}}
            return {name: job}

    return Mixed


async def _submit(cluster: Any, count: int) -> None:
    """Submit the first jobs; what the queue refuses is an error now, which scale() and adapt() would only log."""
    while len(cluster.worker_spec) < count:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        await cluster._correct_state()
    except (OSError, RuntimeError, ValueError) as error:
        for job in cluster._created:
            if job.status == Status.created:
                job.status = Status.failed  # or closing the cluster trips over it
        raise ClusterError(f"The queue takes no job: {error}") from error


def unborn(spec: QueueSpec, cluster: Any) -> dict[str, str]:
    """Tell of jobs that ended before their worker came: name -> what the log says. Only Slurm is asked."""
    if spec.kind != "slurm":
        return {}
    command = ["squeue", "--user", getpass.getuser(), "--noheader", "--format=%i"]
    alive = subprocess.run(command, capture_output=True, text=True)
    if alive.returncode:
        return {}  # a busy controller; it is asked again
    logs = folder_of(spec) / "logs"
    found = {}
    for name, job in list(cluster.workers.items()):
        if job.job_id and job.job_id not in alive.stdout.split():
            out, err = (_tail(logs / f"{job.job_name}-{job.job_id}.{kind}") for kind in ("out", "err"))
            if READY not in out:
                found[name] = f"Slurm's job {job.job_id} ended before its worker came. {logs} says:\n{err}"
    return found


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""


def folder_of(spec: QueueSpec) -> Path:
    """Make the folder for logs and certificates, for its owner alone."""
    folder = Path(spec.folder).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ClusterError(f"cluster.folder: {folder} can't be made: {error.strerror}; give another.") from error
    return folder


def cluster_options(
    spec: QueueSpec, security: Security | None, folder: Path, name: str = "patchlake"
) -> dict[str, Any]:
    """Return the keywords of dask-jobqueue's class."""
    return {
        "security": security,
        "scheduler_options": scheduler_options(own_host(spec.interface), security, dashboard=spec.dashboard),
        "silence_logs": logging.CRITICAL,
        **job_options(spec, folder, name),
    }


def job_options(spec: QueueSpec, folder: Path, name: str, *, gpus: bool = True) -> dict[str, Any]:
    """Return those of the keywords that describe a job."""
    options: dict[str, Any] = {
        "job_name": name,
        "processes": 1,
        "cores": spec.cores,
        "memory": spec.memory,
        "job_extra_directives": directives_of(spec, gpus=gpus),
        "job_script_prologue": [f"export {JOB_START}=$(date +%s)", *spec.prologue],
        # exec, so that the queue's SIGTERM does not end the shell, and with it the job, before the worker has left
        "python": f"exec {shlex.quote(spec.python or sys.executable)} -P",
        "worker_command": "patchlake.cluster.worker.program",
        "worker_extra_args": worker_arguments(spec, gpus=gpus),
        "death_timeout": 60,
        "log_directory": str(folder / "logs"),
    }
    if spec.kind != "htcondor":
        options["walltime"] = walltime_text(spec.walltime_seconds, seconds_too=spec.kind != "lsf")
    if spec.scratch:
        options["local_directory"] = spec.scratch
    if spec.partition:
        options["queue"] = spec.partition
    if spec.account:
        options[CHARGED.get(spec.kind, "account")] = spec.account
    return options | spec.options


def directives_of(spec: QueueSpec, *, gpus: bool = True) -> list[str]:
    """Return the further lines of the script's header."""
    gres = [f"--gres={spec.gres or 'gpu:1'}"] if gpus and spec.gpus and spec.kind == "slurm" else []
    constraint = [f"--constraint={spec.constraint}"] if spec.constraint else []
    return [*gres, *constraint, *spec.directives]


def worker_arguments(spec: QueueSpec, *, gpus: bool = True) -> list[str]:
    """Return what `patchlake worker` is told beside what dask-jobqueue tells it."""
    memory_limit = int(MEMORY_SHARE * parse_bytes(spec.memory))
    arguments = {
        "--memory-limit": memory_limit,
        "--gpus": int(gpus and spec.gpus > 0),
        "--lifetime": spec.walltime_seconds,
        "--grace": spec.grace_seconds,
    }
    return [word for name, value in arguments.items() for word in (name, str(value))]


def walltime_text(seconds: float, *, seconds_too: bool = True) -> str:
    """Return a walltime as queues spell it.

    >>> walltime_text(5400), walltime_text(5400, seconds_too=False)
    ('01:30:00', '01:30')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}" + (f":{rest:02}" if seconds_too else "")
