"""The coordinator as a job of a queue, beside its workers' jobs: submitted, looked at, told to end."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import getpass
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.jobqueue import CLASSES, folder_of, job_options
from patchlake.cluster.kinds.remote import QueueSpec

DRAIN_SECONDS = 120
JobState = Literal["queued", "running", "gone"]


def submit(spec: QueueSpec, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> str:
    """Submit a job that runs the command, and return its id.

    It has the partition, account, time, cores and memory of a worker's job, but no GPU.
    """
    options = job_options(spec, folder_of(spec), name, gpus=False)
    if spec.kind == "slurm":  # so that it has time to drain before its time is over
        seconds = round(min(DRAIN_SECONDS, spec.walltime_seconds / 4))
        options["job_extra_directives"] = [*options["job_extra_directives"], f"--signal=B:TERM@{seconds}"]
    job = _job_class(spec.kind)(scheduler="none", name=name, **options)
    words = shlex.join(["env", *(f"{key}={value}" for key, value in env.items()), *command])
    # The class knows its queue's header; only what it runs is another. exec: SIGTERM is for the coordinator alone.
    job._command_template = f"exec {words} >> {shlex.quote(str(log))} 2>&1 < /dev/null"
    return asyncio.run(_submit(job))


async def _submit(job: Any) -> str:
    try:
        with job.job_file() as script:
            return str(job._job_id_from_submit_output(await job._submit_job(script)))
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"The queue takes no job: {error}") from error


def job_state(kind: str, job_id: str) -> JobState | None:
    """Return what the queue says of a job; None where it does not say (only Slurm is asked)."""
    if kind != "slurm":
        return None
    found = _call("squeue", "--user", getpass.getuser(), "--noheader", "--format=%i %T")
    if found is None:
        return None
    states = dict(line.split() for line in found.splitlines())
    return "queued" if states.get(job_id) == "PENDING" else "running" if job_id in states else "gone"


def end_job(kind: str, job_id: str, *, force: bool = False) -> None:
    """Tell a job to end: SIGTERM for its coordinator, which drains; by force the queue's own way."""
    if kind != "slurm":
        _call(*shlex.split(_job_class(kind).cancel_command), job_id)
    elif force or job_state(kind, job_id) == "queued":
        _call("scancel", job_id)
    else:
        _call("scancel", "--signal=TERM", "--batch", job_id)


def cancel_named(name: str) -> list[str]:
    """Cancel all of the user's jobs of a name, and return their ids; nothing where there is no Slurm."""
    found = _call("squeue", "--user", getpass.getuser(), "--noheader", "--format=%i %T", f"--name={name}")
    ids = [job_id for job_id, state in map(str.split, (found or "").splitlines()) if state != "COMPLETING"]
    if ids:
        _call("scancel", *ids)
    return ids


def _job_class(kind: str) -> Any:
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ClusterError(f"kind: {kind} needs dask-jobqueue: pip install 'patchlake[jobqueue]'.") from error
    return getattr(dask_jobqueue, CLASSES[kind]).job_cls


def _call(*command: str) -> str | None:
    """Return what a command says, or None where there is none or it fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else done.stdout
