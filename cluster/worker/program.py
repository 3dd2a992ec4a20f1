"""Worker processes on their own: `patchlake worker`, in any job script, in our own jobs, and at the far end of SSH.

They listen only on the address that leads to the scheduler, end with it, and hand back what they hold at SIGTERM and
before their job's end. Options are those of `dask worker`, as far as they make sense here.
"""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dask
from distributed import Nanny
from distributed.core import Status
from distributed.protocol import pickle
from distributed.security import Security
from distributed.worker_memory import parse_memory_limit

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.gpus import visible_gpus
from patchlake.cluster.settings import CONFIG, HOST, IGNORE_SIGNALS, host_towards
from patchlake.cluster.spec import GPU, MEMORY
from patchlake.cluster.worker.leave import JOB_END, drain
from patchlake.cluster.worker.options import JOB_START, READY, WorkerOptions, options_of, parser, security_of

KILL_SECONDS = 2.0
"""The part of the grace period that killing and signing off take."""
LEAVE_SECONDS = 5.0
"""How long a worker that leaves by itself, e.g. because its scheduler is gone, may keep running its item."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run workers until their scheduler, their job or somebody ends them; returns the exit status."""
    args = parser().parse_args(argv)
    if args.stdin:
        given = json.loads(sys.stdin.readline())
        os.environ |= given["env"]
        options, security = WorkerOptions(**given["options"]), Security(**given["security"])
    else:
        options, security = options_of(args), security_of(args)
    logging.getLogger("distributed").setLevel(logging.WARNING)
    try:
        return asyncio.run(serve(options, security, watch_stdin=args.stdin))
    except ClusterError as error:
        print(f"patchlake: {error}", file=sys.stderr)
        return 1


async def serve(options: WorkerOptions, security: Security, *, watch_stdin: bool = False) -> int:
    """Start the workers, wait for an end, hand back what they hold; ends this process with status 0."""
    end = job_end(options.lifetime_seconds)
    with dask.config.set(CONFIG):
        nannies = [Nanny(options.scheduler, **each) for each in nanny_options(options, security, end)]
        signalled = asyncio.Event()
        for sent in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sent, signalled.set)
        try:
            await asyncio.gather(*nannies)
            print(READY, flush=True)
            by_themselves = asyncio.gather(*(gone(nanny) for nanny in nannies))
            reasons: list[asyncio.Future[Any]] = [asyncio.ensure_future(signalled.wait()), by_themselves]
            if watch_stdin:
                reasons.append(asyncio.ensure_future(asyncio.to_thread(sys.stdin.read)))
            left = None if end is None else max(0.0, end - max(options.grace_seconds, KILL_SECONDS) - time.time())
            done, _ = await asyncio.wait(reasons, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if signalled.is_set() or not done:
                await asyncio.gather(*(hand_back(nanny, options.grace_seconds - KILL_SECONDS) for nanny in nannies))
        except (OSError, TimeoutError) as error:
            raise ClusterError(f"No scheduler answers at {options.scheduler} ({error}): start it first.") from error
        finally:
            await asyncio.gather(*(nanny.close(timeout=1) for nanny in nannies), return_exceptions=True)
    sys.stdout.flush()
    os._exit(0)  # a thread may still wait for stdin


def nanny_options(options: WorkerOptions, security: Security, end: float | None) -> list[dict[str, Any]]:
    """Return each nanny's options: the first workers own one GPU each, the others see none."""
    seen = visible_gpus()[options.gpu_index :]
    num_gpus = min(len(seen), options.workers) if isinstance(options.gpus, str) else options.gpus
    if num_gpus > min(len(seen), options.workers):
        raise ClusterError(
            f"{options.workers} workers should own {num_gpus} GPUs, but this job sees {len(seen)}: "
            "ask the queue for as many, and start a worker for each."
        )
    memory = parse_memory_limit(options.memory_limit, 1, options.workers, logger=logging.getLogger(__name__))
    offered = {MEMORY: memory} if memory else {}
    common = {
        "host": host_towards(options.scheduler),
        "nthreads": 1,
        "memory_limit": memory,
        "resources": offered,
        "local_directory": options.folder,
        "dashboard": False,
        "dashboard_address": f"{HOST}:0",  # a health page remains, for this machine alone
        "silence_logs": logging.WARNING,
        "death_timeout": options.start_seconds,
        "preload": [IGNORE_SIGNALS],
        "security": security,
    }
    times = {} if end is None else {JOB_END: str(end - KILL_SECONDS)}
    found: list[dict[str, Any]] = []
    for i in range(options.workers):
        gpu = {"resources": offered | GPU} if i < num_gpus else {}
        name = {} if options.name is None else {"name": options.name if options.workers == 1 else f"{options.name}-{i}"}
        env = {"CUDA_VISIBLE_DEVICES": seen[i] if gpu else "", **times}
        found.append({**common, **gpu, **name, "env": env})
    return found


def job_end(lifetime_seconds: float | None) -> float | None:
    """Return when this job is over, in seconds since 1970: by Slurm or by the lifetime, whichever comes first."""
    start = float(os.environ.get(JOB_START, time.time()))
    ends = [] if lifetime_seconds is None else [start + lifetime_seconds]
    if slurm := os.environ.get("SLURM_JOB_END_TIME"):
        ends.append(float(slurm))
    return min(ends, default=None)


async def gone(nanny: Nanny) -> None:
    """Wait until a nanny's worker has left by itself; one whose scheduler is gone would first finish its item."""
    while nanny.status not in (Status.closing_gracefully, Status.closing, Status.closed, Status.failed):
        await asyncio.sleep(0.5)
    with suppress(TimeoutError):
        await asyncio.wait_for(nanny.finished(), LEAVE_SECONDS)
    await nanny.close(timeout=1)


async def hand_back(nanny: Nanny, seconds: float) -> None:
    """Let a worker finish its item, if that takes no longer than `seconds`; what waits there goes elsewhere."""
    with suppress(Exception):
        async with asyncio.timeout(max(0.1, seconds) + 1):
            leave = {"function": pickle.dumps(drain), "kwargs": pickle.dumps({"seconds": max(0.1, seconds)})}
            await nanny.rpc(nanny.worker_address).run(**leave)
            await nanny.finished()


if __name__ == "__main__":
    sys.exit(main())
