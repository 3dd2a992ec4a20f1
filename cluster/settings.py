"""Settings that all kinds of clusters share: of Dask, of worker processes, and the addresses they listen on."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import ipaddress
import os
from typing import Any

from distributed import Client
from distributed.comm.addressing import get_address_host
from distributed.security import Security
from distributed.utils import format_dashboard_link, get_ip, get_ip_interface

from patchlake.cluster.dask_internals import scheduler_extensions
from patchlake.cluster.errors import ClusterError

HOST = "127.0.0.1"

ORIGINS = ("BOKEH_ALLOW_WS_ORIGIN", f"localhost:*,{HOST}:*")
"""Variable that names the pages which may read a dashboard: its own, also at the near end of a tunnel."""

IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""A terminal sends Ctrl-C to all processes; the coordinator alone decides, and drains its workers."""

IGNORE_SIGNALS = IGNORE_CTRL_C + "; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
"""A queue sends SIGTERM to all processes of a job; the nanny alone decides. What the worker starts inherits this: a
decoding child killed by it would make its video `failed`."""

CONFIG = {
    "distributed.worker.multiprocessing-method": "spawn",
    # Results are small: nothing to spill, and a worker paused by its own thread's memory never resumes.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # How many deaths of its workers an item survives before it is tried alone, with as many again. Each costs a
    # worker's start, and only trying alone, not many tries, shows that an item is innocent.
    "distributed.scheduler.allowed-failures": 1,
    # A lost worker is restarted by its nanny; after this time its place is given up, so be patient.
    "distributed.deploy.lost-worker-timeout": "120s",
    # Each server's event loop looks 50 times a second whether it is late, and 10 times at memory or for work to steal;
    # scheduler and nannies run in the coordinator, and nothing here lasts milliseconds. This halves what they cost when
    # idle: 2 % of a core.
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.profile.interval": "500ms",
    # One profile a second, kept for an hour, took 0.05 MB/s: half a minute each is still fine on the dashboard.
    "distributed.worker.profile.cycle": "30s",
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.scheduler.work-stealing-interval": "300ms",
    # What the dashboard's task stream and a performance report show at most; Dask's 100,000 are too many to draw.
    "distributed.scheduler.dashboard.tasks.task-stream-length": 20_000,
    # Dask's `*` lets any web page that is open in a browser here read the dashboard; ORIGINS overrides this.
    "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [HOST],
    # One process per core: more BLAS threads would only fight. Read before numpy is imported.
    "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.MKL_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.OPENBLAS_NUM_THREADS": 1,
    # Keep freed memory: Dask's default of 64 KiB gives every tensor back to the system and faults it in again,
    # which was a third of a training step's CPU time. One arena, since the others give memory back all the same: a
    # shard is encoded in a thread of zarrs' own, and its page faults cost twice the encoding.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 30,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 30,
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
}


def own_host(interface: str | None = None) -> str:
    """Return this machine's address on the interface; without one the private address that leads to other machines."""
    if interface:
        try:
            return str(get_ip_interface(interface))
        except ValueError as error:
            raise ClusterError(f"cluster.interface: got {interface!r}: {error}") from error
    host = str(get_ip())
    if not ipaddress.ip_address(host).is_private:
        raise ClusterError(
            f"This machine's address {host} is a public one, where nothing of ours should listen: "
            "set cluster.interface to the private network's, for example `interface: ib0` (`ip address` lists them)."
        )
    return host


def host_towards(scheduler: str) -> str:
    """Return this machine's address that leads to the scheduler: a worker listens there and nowhere else."""
    return str(get_ip(get_address_host(scheduler)))


def scheduler_options(host: str, security: Security | None, *, dashboard: bool | int) -> dict[str, Any]:
    """Return how a scheduler in this process listens; its pages are for this machine alone.

    `dashboard`: whether there is one, or its port.
    """
    if dashboard:
        os.environ.setdefault(*ORIGINS)
    # Without a dashboard there still is a health page; an address keeps it off port 8787 and off the network.
    return {
        "host": host,
        "port": 0,
        "protocol": "tls://" if security else "tcp://",
        "security": security,
        "extensions": scheduler_extensions(),
        "dashboard": bool(dashboard),
        "dashboard_address": f"{HOST}:{0 if isinstance(dashboard, bool) else dashboard}",
    }


def local_dashboard(client: Client) -> str:
    """Return where the dashboard of this process's scheduler is; Dask would name the address that workers come to."""
    deployed: Any = client.cluster
    return str(format_dashboard_link(HOST, deployed.scheduler_info["services"]["dashboard"]))
