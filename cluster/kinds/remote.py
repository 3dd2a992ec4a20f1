"""Clusters whose workers run elsewhere, started from here: jobs of a queue, processes over SSH."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from patchlake.cluster.parsing import PLAIN, bytes_text, plain, seconds_of_walltime, seconds_text, time_text
from patchlake.cluster.spec import ClusterSpec, Elastic, Waiting

Queue = Literal["slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor"]
QUEUES: tuple[Queue, ...] = ("slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor")


class RemoteSpec(ClusterSpec):
    """Workers elsewhere, which this process starts and to which it is the scheduler."""

    interface: str | None = Field(
        default=None, description="Network interface to listen on, as ib0; by default the private address"
    )
    memory: str = Field(default="4 GiB", description="Memory of one worker, past which it is restarted")
    grace: str = Field(
        default="20 s", description="How long a unit may go on after SIGTERM, or before its job's end, to be done"
    )
    python: str | None = Field(default=None, description="The workers' Python; by default the path of this one")

    @field_validator("memory")
    @classmethod
    def _memory_in_bytes(cls, memory: str) -> str:
        return bytes_text("memory", memory)

    @field_validator("grace")
    @classmethod
    def _grace_in_seconds(cls, grace: str) -> str:
        return time_text("grace", grace)

    @property
    def grace_seconds(self) -> float:
        """`grace` as a number."""
        return seconds_text(self.grace)


class QueueSpec(Waiting, RemoteSpec):
    """Jobs of a queueing system, one worker each, by dask-jobqueue."""

    kind: Queue = "slurm"
    workers: PositiveInt | Elastic = Field(default=1, description="Jobs; or {min, max}: as there is work")
    walltime: str = Field(default="1 h", description="Of a job, as '2 h' or 02:00:00")
    partition: str | None = Field(default=None, description="Partition or queue")
    account: str | None = Field(default=None, description="Account or project to charge")
    cores: PositiveInt = Field(default=1, description="Cores of a job; units use one, models may use more")
    gpus: NonNegativeInt = Field(default=0, description="Jobs that have a GPU each, and do the units that take one")
    gres: str | None = Field(default=None, description="Instead of gpu:1, as in gpu:a100:1 (slurm)")
    constraint: str | None = Field(default=None, description="Features of nodes (slurm)")
    directives: tuple[str, ...] = Field(default=(), description="More header lines, as '--exclusive'")
    prologue: tuple[str, ...] = Field(default=(), description="Shell lines before the worker, as 'module load ffmpeg'")
    options: dict[str, Any] = Field(default={}, description="More keywords of dask-jobqueue's class")
    folder: str = Field(default="~/.patchlake", description="Folder that all nodes see: logs of jobs, certificates")
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
                raise ValueError(f"got {line!r}, expected options as the queue spells them, as '--qos=low'")
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
                raise ValueError(f"{name} is for slurm: with {self.kind} say it in directives")
        if self.gpus and self.kind != "slurm" and not (self.directives or self.options):
            raise ValueError(f"gpus is {self.gpus}: say in directives or options how {self.kind} asks for a GPU")
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
        """`walltime` as a number."""
        return seconds_of_walltime(self.walltime)

    def size(self) -> tuple[int, int]:
        """Return the least and the most jobs."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else (self.workers.min, self.workers.max)

    def num_gpus(self) -> int:
        """Count the jobs that have a GPU."""
        return self.gpus


class SshSpec(RemoteSpec):
    """Workers on hosts that SSH reaches with a key."""

    kind: Literal["ssh"] = "ssh"
    hosts: tuple[str, ...] = Field(min_length=1, description="Names or addresses")
    workers: PositiveInt = Field(default=1, description="Worker processes of each host")
    gpus: NonNegativeInt = Field(default=0, description="Workers of each host that own one GPU each")
    username: str | None = None
    port: PositiveInt = 22
    key: str | None = Field(default=None, description="Private key file; by default those of ssh and its agent")
    known_hosts: str | None = Field(
        default=None, description="By default ~/.ssh/known_hosts; an unknown host is refused"
    )
    env: tuple[str, ...] = Field(
        default=("AWS_*",), description="Names or patterns of variables to hand on, inside the SSH channel"
    )

    @model_validator(mode="after")
    def _gpus_have_workers(self) -> SshSpec:
        if self.gpus > self.workers:
            raise ValueError(f"gpus is {self.gpus}, but a host has {self.workers} workers: expected at most that")
        return self

    def size(self) -> tuple[int, int]:
        """Return the number of workers, twice."""
        return len(self.hosts) * self.workers, len(self.hosts) * self.workers

    def num_gpus(self) -> int:
        """Count the workers that own a GPU."""
        return len(self.hosts) * self.gpus
