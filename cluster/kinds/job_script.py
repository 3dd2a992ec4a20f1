"""What is in a job of a queue: its script's header, its worker's arguments, where its logs lie."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.worker.options import JOB_START

if TYPE_CHECKING:
    from patchlake.cluster.kinds.jobqueue import QueueSpec

CHARGED = {"lsf": "project", "sge": "project", "oar": "project"}
"""What queues call an account, where they call it something else."""
MEMORY_SHARE = 0.85
"""Of a job's memory, what its worker may take: the nanny and the decoding child live there too."""


def folder_of(spec: QueueSpec) -> Path:
    """Make the folder for logs and certificates, for its owner alone."""
    folder = Path(spec.folder).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ClusterError(f"cluster.folder: {folder} can't be made: {error.strerror}; give another folder.") from error
    return folder


def job_options(spec: QueueSpec, folder: Path, name: str, *, gpus: bool = True) -> dict[str, Any]:
    """Return those keywords of dask-jobqueue's class that describe a job."""
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
    """Return the arguments of `patchlake worker` that dask-jobqueue does not add itself."""
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
