"""A scheduler on its own: `patchlake scheduler`, for clusters whose workers and runs come and go by themselves."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import dask
from distributed import Scheduler
from distributed.utils import format_dashboard_link

from patchlake.cluster import tls
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.settings import CONFIG, HOST, own_host, scheduler_options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a scheduler until it is interrupted; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        asyncio.run(serve(args))
    except (ClusterError, OSError) as error:
        print(f"patchlake: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = argparse.ArgumentParser(prog="patchlake scheduler", description="Start a scheduler.")
    found.add_argument("--scheduler-file", required=True, help="file for its address, which workers and runs read")
    where = found.add_mutually_exclusive_group()
    where.add_argument("--host", help="address to listen on (by default this machine's private one)")
    where.add_argument("--interface", help="or network interface, e.g. ib0")
    found.add_argument("--port", type=int, default=0, help="by default a free one")
    found.add_argument("--tls", metavar="FOLDER", help="folder with ca.pem, cert.pem and key.pem; made if missing")
    pages = found.add_mutually_exclusive_group()
    pages.add_argument("--dashboard-port", type=int, help="port on 127.0.0.1; by default a free one")
    pages.add_argument("--no-dashboard", action="store_true", help="no dashboard on 127.0.0.1")
    return found


async def serve(args: argparse.Namespace) -> None:
    """Listen until SIGTERM or SIGINT."""
    security = None
    if args.tls:
        given = Path(args.tls).exists()
        security = tls.security_of(tls.files_in(args.tls) if given else tls.make_certificates(args.tls))
    dashboard = args.dashboard_port or not args.no_dashboard
    options = scheduler_options(args.host or own_host(args.interface), security, dashboard=dashboard)
    signalled = asyncio.Event()
    for sent in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sent, signalled.set)
    with dask.config.set(CONFIG):
        async with Scheduler(**options | {"port": args.port}, scheduler_file=args.scheduler_file) as scheduler:
            print(f"patchlake: scheduler at {scheduler.address}", flush=True)
            if not args.no_dashboard:
                print(f"patchlake: dashboard at {format_dashboard_link(HOST, scheduler.http_server.port)}", flush=True)
            await signalled.wait()
