"""What the worker program is given: by command line, or over SSH as one line of JSON."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass

from dask.utils import parse_timedelta
from distributed.security import Security

from patchlake.cluster import tls
from patchlake.cluster.spec import TlsFiles

READY = "patchlake: ready"
"""What the program prints once its workers are registered."""
JOB_START = "PATCHLAKE_JOB_START"
"""Variable with the time (seconds since 1970) from which a lifetime counts; without it that is now."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Which workers to start, for whom and for how long."""

    scheduler: str
    name: str | None = None
    workers: int = 1
    gpus: int | str = "auto"
    """Workers that own one GPU each; auto: one per GPU that this job sees."""
    gpu_index: int = 0
    """The first GPU to own among the visible ones: over SSH each worker of a host is a program of its own."""
    memory_limit: str = "auto"
    folder: str | None = None
    lifetime_seconds: float | None = None
    """Until the job is over, counted from JOB_START or from now."""
    grace_seconds: float = 20.0
    start_seconds: float = 60.0
    """How long the scheduler may take to answer."""


def parser() -> argparse.ArgumentParser:
    """Return the parser; some options of `dask worker` are accepted and ignored, since a worker has one thread."""
    found = argparse.ArgumentParser(prog="patchlake worker", description="Start workers for a scheduler.")
    found.add_argument("scheduler", nargs="?", help="its address, e.g. tcp://10.0.0.1:8786")
    found.add_argument("--scheduler-file", help="or the file with its address, written by the scheduler")
    found.add_argument("--workers", type=int, default=1, help="processes to start")
    found.add_argument("--gpus", default="auto", help="workers that own one GPU each (auto: one per visible GPU)")
    found.add_argument("--name", help="of the worker, on the dashboard; of several with a number added")
    found.add_argument("--memory-limit", default="auto", help="of one worker, e.g. '4 GiB'")
    found.add_argument("--local-directory", help="scratch folder")
    found.add_argument(
        "--lifetime", help="time until the job ends, e.g. '2 h' (Slurm's own is read from its environment)"
    )
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


def options_of(args: argparse.Namespace) -> WorkerOptions:
    """Return what the command line says; ends the program with a sentence where it names no scheduler."""
    scheduler = args.scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if args.scheduler_file:
        scheduler = address_in(args.scheduler_file, float(parse_timedelta(args.death_timeout, default="s")))
    if not scheduler:
        raise SystemExit("patchlake worker: no scheduler was given: expected its address, or --scheduler-file FILE")
    return WorkerOptions(
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
    """Return the address in a scheduler file, which may not be written yet."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, ValueError), open(path) as file:
            return str(json.load(file)["address"])
        if time.monotonic() > deadline:
            raise SystemExit(f"patchlake worker: {path} names no scheduler after {seconds:.0f} s: start one with it")
        time.sleep(0.2)


def security_of(args: argparse.Namespace) -> Security:
    """Return Dask's settings for the certificates that the command line names."""
    if args.tls:
        return tls.security_of(tls.files_in(args.tls))
    if args.tls_cert:
        return tls.security_of(TlsFiles(ca=args.tls_ca_file, cert=args.tls_cert, key=args.tls_key))
    return Security()
