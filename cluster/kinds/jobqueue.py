"""Jobs of a queueing system, one worker each, by dask-jobqueue; the scheduler is in this process."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import getpass
import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import dask
from distributed import Client
from distributed.security import Security
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from patchlake.cluster.dask_internals import submit_jobs
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.job_script import folder_of, job_options
from patchlake.cluster.kinds.remote import RemoteSpec, Waiting
from patchlake.cluster.parsing import PLAIN, plain, seconds_of_walltime
from patchlake.cluster.settings import CONFIG, own_host, scheduler_options
from patchlake.cluster.spec import Elastic
from patchlake.cluster.strict import LocalPath
from patchlake.cluster.tls import open_security
from patchlake.cluster.worker.options import READY

Queue = Literal["slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor"]
CLASSES = {
    "slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster", "oar": "OARCluster",
    "moab": "MoabCluster", "htcondor": "HTCondorCluster",
}  # fmt: skip
"""dask-jobqueue's class for each queue."""
LOST_WORKER_SECONDS = 10
"""A nanny restarts its worker sooner; after this time a job counts as lost, and another is submitted."""
IDLE_SECONDS = 10
"""After this time without work an elastic cluster ends a job."""


class QueueSpec(Waiting, RemoteSpec):
    """Jobs of a queueing system, one worker each, by dask-jobqueue."""

    kind: Queue = "slurm"
    workers: PositiveInt | Elastic = Field(default=1, description="Jobs; or {min, max}: as there is work")
    walltime: str = Field(default="1 h", description="Of a job, e.g. '2 h' or 02:00:00")
    partition: str | None = Field(default=None, description="Partition or queue")
    account: str | None = Field(default=None, description="Account or project to charge")
    cores: PositiveInt = Field(default=1, description="Cores of a job; units use one, models may use more")
    gpus: NonNegativeInt = Field(default=0, description="Jobs that own a GPU each; they do the units that need one")
    gres: str | None = Field(default=None, description="Instead of gpu:1, e.g. gpu:a100:1 (slurm)")
    constraint: str | None = Field(default=None, description="Features of nodes (slurm)")
    directives: tuple[str, ...] = Field(default=(), description="More header lines, e.g. '--exclusive'")
    prologue: tuple[str, ...] = Field(
        default=(), description="Shell lines before the worker, e.g. 'module load ffmpeg'"
    )
    options: dict[str, Any] = Field(default={}, description="More keywords of dask-jobqueue's class")
    folder: LocalPath = Field(
        default="~/.patchlake", description="Folder that all nodes see: logs of jobs, certificates"
    )
    scratch: str | None = Field(default=None, description="The workers' own folder on the node; by default in /tmp")
    wait: str = Field(default="1 d", description="How long jobs may wait in the queue before the run gives up")

    @field_validator("partition", "account", "gres", "constraint", "folder", "scratch", "interface")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        return None if value is None else plain(value)

    @field_validator("directives")
    @classmethod
    def _directives_are_words(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not line.startswith("-") or not all(PLAIN.fullmatch(word) for word in line.split(" ")):
                raise ValueError(f"got {line!r}, expected options as the queue spells them, e.g. '--qos=low'")
        return lines

    @field_validator("prologue")
    @classmethod
    def _one_line_each(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not line.isprintable():
                raise ValueError(f"got {line!r}, expected one shell line per entry, without line breaks")
        return lines

    @field_validator("walltime")
    @classmethod
    def _walltime_in_seconds(cls, walltime: str) -> str:
        seconds_of_walltime(walltime)
        return walltime

    @model_validator(mode="after")
    def _slurm_only(self) -> QueueSpec:
        for name in ("gres", "constraint"):
            if getattr(self, name) and self.kind != "slurm":
                raise ValueError(f"{name} is for slurm: with {self.kind} use directives")
        if self.gpus and self.kind != "slurm" and not (self.directives or self.options):
            raise ValueError(f"gpus is {self.gpus}: put into directives or options how {self.kind} asks for a GPU")
        if self.gres and not self.gpus:
            raise ValueError(f"gres is {self.gres!r}, but gpus is 0: set gpus: 1, or ask for it in directives")
        return self

    @model_validator(mode="after")
    def _gpus_are_among_the_jobs(self) -> QueueSpec:
        least, most = self.size()
        if self.gpus > most:
            raise ValueError(f"gpus is {self.gpus}, but workers is {most}: expected at most that, jobs with a GPU each")
        if self.gpus not in (0, most) and (least < most or self.kind != "slurm"):
            raise ValueError(
                f"gpus is {self.gpus} of {most} workers: expected 0 or {most}; only slurm, with a fixed number of "
                "workers, has jobs with and without a GPU in one run"
            )
        return self

    @property
    def walltime_seconds(self) -> float:
        """Return `walltime` as a number."""
        return seconds_of_walltime(self.walltime)

    def size(self) -> tuple[int, int]:
        """Return the least and the most jobs."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else (self.workers.min, self.workers.max)

    def num_gpus(self) -> int:
        """Count the jobs that have a GPU."""
        return self.gpus

    @property
    def queue(self) -> Queue:
        """Return the kind: each is a queueing system."""
        return self.kind

    @contextmanager
    def open(self, name: str) -> Iterator[Client]:
        """Submit jobs and keep their number: lost ones are replaced. They are cancelled at the context's end."""
        job_queue_of(self.kind)  # or an error, before any folder is made
        folder = folder_of(self)
        config = {**CONFIG, "distributed.deploy.lost-worker-timeout": f"{LOST_WORKER_SECONDS}s"}
        with (
            dask.config.set(config),
            open_security(self.tls, folder=str(folder)) as security,
            class_of(self, folder, name)(**cluster_options(self, security, folder, name)) as cluster,
        ):
            minimum, maximum = self.size()
            try:
                cluster.sync(submit_jobs, cluster, minimum)
            except (OSError, RuntimeError, ValueError) as error:
                raise ClusterError(f"The queue rejected the job: {error}") from error
            # Static scale() would never replace a lost job. Any backlog is a reason to grow: only so much is in flight.
            cluster.adapt(
                minimum=minimum, maximum=maximum, interval="1s", wait_count=IDLE_SECONDS, target_duration="10ms"
            )
            with Client(cluster, set_as_default=False) as client:
                yield client

    def failed_to_start(self, deployed: Any) -> dict[str, str]:
        """Return the jobs that ended before their worker joined: name -> what the log says. Only Slurm is asked."""
        if self.kind != "slurm":
            return {}
        command = ["squeue", "--user", getpass.getuser(), "--noheader", "--format=%i"]
        alive = subprocess.run(command, capture_output=True, text=True)
        if alive.returncode:
            return {}  # a busy controller; it is asked again
        logs = folder_of(self) / "logs"
        found = {}
        for name, job in list(deployed.workers.items()):
            if job.job_id and job.job_id not in alive.stdout.split():
                out, err = (_tail(logs / f"{job.job_name}-{job.job_id}.{stream}") for stream in ("out", "err"))
                if READY not in out:
                    found[name] = f"Slurm's job {job.job_id} ended before its worker joined. {logs} says:\n{err}"
        return found


def job_queue_of(kind: str) -> Any:
    """Return dask-jobqueue's class for a queue; raises ClusterError where the package is not installed."""
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ClusterError(f"kind: {kind} needs dask-jobqueue: pip install 'patchlake[jobqueue]'.") from error
    return getattr(dask_jobqueue, CLASSES[kind])


def class_of(spec: QueueSpec, folder: Path, name: str) -> Any:
    """Return dask-jobqueue's class; if only some jobs have a GPU, a subclass that keeps the number of those that do."""
    found = job_queue_of(spec.kind)
    if spec.gpus in (0, spec.size()[1]):
        return found
    plain_job = job_options(spec, folder, name, gpus=False)
    without = {key: plain_job[key] for key in ("job_extra_directives", "worker_extra_args")}

    class Mixed(found):  # type: ignore[misc, valid-type]
        def new_worker_spec(self) -> dict[str, Any]:
            ((name, job),) = super().new_worker_spec().items()
            with_gpu = sum(other is self.new_spec for other in self.worker_spec.values())
            if with_gpu >= spec.gpus:
                job = {**job, "options": {**job["options"], **without}}
            return {name: job}

    return Mixed


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


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""
