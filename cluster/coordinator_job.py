"""The coordinator as a job of a queue, beside its workers' jobs: submitting it, its state, ending it.

Dask is imported by the functions that need it: to look at runs or to cancel them takes no second of start-up.
"""

from __future__ import annotations

import asyncio
import getpass
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from patchlake.cluster.errors import ClusterError

if TYPE_CHECKING:
    from patchlake.cluster.kinds.jobqueue import QueueSpec

DRAIN_SECONDS = 120
JobState = Literal["queued", "running", "gone"]


def submit(spec: QueueSpec, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> str:
    """Submit a job that runs the command, and return its id.

    It has the partition, account, time, cores and memory of a worker's job, but no GPU.
    """
    from patchlake.cluster.dask_internals import submit_command
    from patchlake.cluster.kinds.job_script import folder_of, job_options
    from patchlake.cluster.kinds.jobqueue import job_queue_of

    options = job_options(spec, folder_of(spec), name, gpus=False)
    if spec.kind == "slurm":  # so that it has time to drain before its time is over
        seconds = round(min(DRAIN_SECONDS, spec.walltime_seconds / 4))
        options["job_extra_directives"] = [*options["job_extra_directives"], f"--signal=B:TERM@{seconds}"]
    job = job_queue_of(spec.kind).job_cls(scheduler="none", name=name, **options)
    words = shlex.join(["env", *(f"{key}={value}" for key, value in env.items()), *command])
    # exec: SIGTERM is for the coordinator alone
    line = f"exec {words} >> {shlex.quote(str(log))} 2>&1 < /dev/null"
    try:
        return asyncio.run(submit_command(job, line))
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"The queue rejected the job: {error}") from error


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
    """End a job: SIGTERM for its coordinator, which drains; by force the queue's own way."""
    if kind != "slurm":
        from patchlake.cluster.kinds.jobqueue import job_queue_of

        _call(*shlex.split(job_queue_of(kind).job_cls.cancel_command), job_id)
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


def _call(*command: str) -> str | None:
    """Return what a command says, or None where there is none or it fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else done.stdout
