"""Worker processes on their own: `patchlake worker`, in any job script, in our own jobs, and at the far end of SSH.

They listen only on the address that leads to the scheduler, end with it, and hand back what they hold at SIGTERM and
before their job's end. Options are those of `dask worker`, as far as they make sense here.
"""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Nanny
from distributed.core import Status
from distributed.protocol import pickle
from distributed.security import Security
from distributed.worker_memory import parse_memory_limit

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.settings import CONFIG, HOST, IGNORE_SIGNALS, host_towards
from patchlake.cluster.spec import GPU, MEMORY, visible_gpus
from patchlake.cluster.worker.perform import JOB_END, drain

READY = "patchlake: ready"
"""What the program prints once its workers are registered."""
JOB_START = "PATCHLAKE_JOB_START"
"""Variable with the time (seconds since 1970) from which a lifetime counts; without it that is now."""
KILL_SECONDS = 2.0
"""Of the grace period, what killing and farewells take."""
LEAVE_SECONDS = 5.0
"""How long a worker that leaves by itself, as when its scheduler is gone, may hang on to what it runs."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What to start."""

    scheduler: str
    name: str | None = None
    workers: int = 1
    gpus: int | str = "auto"
    """Workers that own one GPU each; auto: as many as this job sees."""
    gpu_index: int = 0
    """The first GPU to own, among those seen: over SSH each worker of a host is a program of its own."""
    memory_limit: str = "auto"
    folder: str | None = None
    lifetime_seconds: float | None = None
    """Until the job is over, from JOB_START or from now."""
    grace_seconds: float = 20.0
    start_seconds: float = 60.0
    """How long the scheduler may take to answer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run workers until their scheduler, their job or somebody ends them; returns the exit status."""
    args = parser().parse_args(argv)
    if args.stdin:
        told = json.loads(sys.stdin.readline())
        os.environ |= told["env"]
        orders, security, watched = Orders(**told["orders"]), Security(**told["security"]), True
    else:
        orders, security, watched = orders_of(args), security_of(args), False
    logging.getLogger("distributed").setLevel(logging.WARNING)
    try:
        return asyncio.run(serve(orders, security, watch_stdin=watched))
    except ClusterError as error:
        print(f"patchlake: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the options; some of `dask worker` are taken and mean nothing, since one thread is all there is."""
    found = argparse.ArgumentParser(prog="patchlake worker", description="Start workers for a scheduler.")
    found.add_argument("scheduler", nargs="?", help="its address, as tcp://10.0.0.1:8786")
    found.add_argument("--scheduler-file", help="or the file into which it wrote that")
    found.add_argument("--workers", type=int, default=1, help="processes to start")
    found.add_argument("--gpus", default="auto", help="workers that own one GPU each (auto: as many as are seen)")
    found.add_argument("--name")
    found.add_argument("--memory-limit", default="auto", help="of one worker, as '4 GiB'")
    found.add_argument("--local-directory", help="scratch folder")
    found.add_argument("--lifetime", help="time until the job ends, as '2 h' (Slurm tells it itself)")
    found.add_argument("--grace", default="20 s", help="how long a unit may go on after SIGTERM")
    found.add_argument("--death-timeout", default="60 s", help="how long the scheduler may take to answer")
    found.add_argument("--tls", metavar="FOLDER", help="with ca.pem, cert.pem and key.pem")
    for name in ("--tls-ca-file", "--tls-cert", "--tls-key", "--nthreads", "--protocol", "--interface"):
        found.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--nanny", "--no-nanny", "--dashboard", "--no-dashboard", "--stdin"):
        found.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    for name in ("--dashboard-address", "--nworkers"):
        found.add_argument(name, help=argparse.SUPPRESS)
    return found


def orders_of(args: argparse.Namespace) -> Orders:
    """Return what the command line says."""
    scheduler = args.scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if args.scheduler_file:
        scheduler = address_in(args.scheduler_file, float(parse_timedelta(args.death_timeout, default="s")))
    if not scheduler:
        raise SystemExit("patchlake worker: no scheduler is given: expected its address, or --scheduler-file FILE")
    return Orders(
        scheduler=scheduler,
        name=args.name,
        workers=args.workers,
        gpus=args.gpus if args.gpus == "auto" else int(args.gpus),
        memory_limit=args.memory_limit,
        folder=args.local_directory,
        lifetime_seconds=None if args.lifetime is None else float(parse_timedelta(args.lifetime, default="s")),
        grace_seconds=float(parse_timedelta(args.grace, default="s")),
        start_seconds=float(parse_timedelta(args.death_timeout, default="s")),
    )


def address_in(path: str, seconds: float) -> str:
    """Return the address in a scheduler file, which may be written later than this is asked."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, ValueError), open(path) as file:
            return str(json.load(file)["address"])
        if time.monotonic() > deadline:
            raise SystemExit(
                f"patchlake worker: {path} tells of no scheduler within {seconds:.0f} s: start one with it"
            )
        time.sleep(0.2)


def security_of(args: argparse.Namespace) -> Security:
    """Return Dask's settings for the certificates that the command line names."""
    from patchlake.cluster import tls
    from patchlake.cluster.spec import TlsFiles

    if args.tls:
        return tls.security_of(tls.files_in(args.tls))
    if args.tls_cert:
        return tls.security_of(TlsFiles(ca=args.tls_ca_file, cert=args.tls_cert, key=args.tls_key))
    return Security()


async def serve(orders: Orders, security: Security, *, watch_stdin: bool = False) -> int:
    """Start the workers, wait for the end, hand back."""
    end = job_end(orders.lifetime_seconds)
    with dask.config.set(CONFIG):
        nannies = [Nanny(orders.scheduler, **options) for options in nanny_options(orders, security, end)]
        over = asyncio.Event()
        for sent in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sent, over.set)
        try:
            await asyncio.gather(*nannies)
            print(READY, flush=True)
            by_themselves = asyncio.gather(*(gone(nanny) for nanny in nannies))
            reasons: list[asyncio.Future[Any]] = [asyncio.ensure_future(over.wait()), by_themselves]
            if watch_stdin:
                reasons.append(asyncio.ensure_future(asyncio.to_thread(sys.stdin.read)))
            left = None if end is None else max(0.0, end - max(orders.grace_seconds, KILL_SECONDS) - time.time())
            done, _ = await asyncio.wait(reasons, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if over.is_set() or not done:
                await asyncio.gather(*(hand_back(nanny, orders.grace_seconds - KILL_SECONDS) for nanny in nannies))
        except (OSError, TimeoutError) as error:
            raise ClusterError(f"No scheduler answers at {orders.scheduler} ({error}): start it first.") from error
        finally:
            await asyncio.gather(*(nanny.close(timeout=1) for nanny in nannies), return_exceptions=True)
    sys.stdout.flush()
    os._exit(0)  # a thread may still wait for stdin


def nanny_options(orders: Orders, security: Security, end: float | None) -> list[dict[str, Any]]:
    """Return each nanny's options: the first workers own one GPU each, the others see none."""
    seen = visible_gpus()[orders.gpu_index :]
    num_gpus = min(len(seen), orders.workers) if isinstance(orders.gpus, str) else orders.gpus
    if num_gpus > min(len(seen), orders.workers):
        raise ClusterError(
            f"{orders.workers} workers are to own {num_gpus} GPUs, but this job sees {len(seen)}: "
            "ask the queue for as many, and start a worker for each."
        )
    memory = parse_memory_limit(orders.memory_limit, 1, orders.workers, logger=logging.getLogger(__name__))
    offered = {MEMORY: memory} if memory else {}
    common = {
        "host": host_towards(orders.scheduler),
        "nthreads": 1,
        "memory_limit": memory,
        "resources": offered,
        "local_directory": orders.folder,
        "dashboard": False,
        "dashboard_address": f"{HOST}:0",  # there still is a health page, for this machine alone
        "silence_logs": logging.WARNING,
        "death_timeout": orders.start_seconds,
        "preload": [IGNORE_SIGNALS],
        "security": security,
    }
    times = {} if end is None else {JOB_END: str(end - KILL_SECONDS)}
    found: list[dict[str, Any]] = []
    for i in range(orders.workers):
        gpu = {"resources": offered | GPU} if i < num_gpus else {}
        name = {} if orders.name is None else {"name": orders.name if orders.workers == 1 else f"{orders.name}-{i}"}
        env = {"CUDA_VISIBLE_DEVICES": seen[i] if gpu else "", **times}
        found.append({**common, **gpu, **name, "env": env})
    return found


def job_end(lifetime_seconds: float | None) -> float | None:
    """Return when this job is over, in seconds since 1970: what Slurm says or what was told, whichever comes first."""
    start = float(os.environ.get(JOB_START, time.time()))
    told = [] if lifetime_seconds is None else [start + lifetime_seconds]
    if slurm := os.environ.get("SLURM_JOB_END_TIME"):
        told.append(float(slurm))
    return min(told, default=None)


async def gone(nanny: Nanny) -> None:
    """Wait until a nanny's worker has left by itself; one whose scheduler is gone would first end what it runs."""
    while nanny.status not in (Status.closing_gracefully, Status.closing, Status.closed, Status.failed):
        await asyncio.sleep(0.5)
    with suppress(TimeoutError):
        await asyncio.wait_for(nanny.finished(), LEAVE_SECONDS)
    await nanny.close(timeout=1)


async def hand_back(nanny: Nanny, seconds: float) -> None:
    """Let a worker end what it is at, if that takes no longer; what waits there goes elsewhere."""
    with suppress(Exception):
        async with asyncio.timeout(max(0.1, seconds) + 1):
            leave = {"function": pickle.dumps(drain), "kwargs": pickle.dumps({"seconds": max(0.1, seconds)})}
            await nanny.rpc(nanny.worker_address).run(**leave)
            await nanny.finished()


if __name__ == "__main__":
    sys.exit(main())
