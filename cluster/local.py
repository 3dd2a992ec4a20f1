"""A cluster of processes on this machine, bound to 127.0.0.1."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.worker_memory import parse_memory_limit

from patchlake.cluster.spec import GPU, ClusterSpec

HOST = "127.0.0.1"

IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""A terminal sends Ctrl-C to all processes; the coordinator alone decides, and drains its workers."""

CONFIG = {
    "distributed.worker.multiprocessing-method": "spawn",
    # Results are small: nothing to spill, and a worker paused by its own thread's memory never resumes.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # A lost worker is restarted by its nanny; after this time its place is given up, so be patient.
    "distributed.deploy.lost-worker-timeout": "120s",
    # Each server's event loop looks 50 times a second whether it is late, and 10 times at memory or for work to steal;
    # scheduler and nannies run in the coordinator, and nothing here lasts milliseconds. This halves what they cost
    # when idle: 2 % of a core.
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.profile.interval": "100ms",
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.scheduler.work-stealing-interval": "300ms",
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


class _Nanny(Nanny):
    """Dask's nanny, but at close it kills a worker that is busy after one second instead of four."""

    async def close(  # type: ignore[override]
        self, timeout: float = 1.25, reason: str = "nanny-close"
    ) -> Literal["OK"]:
        """End the worker and this nanny."""
        return await super().close(timeout=timeout, reason=reason)


@contextmanager
def open_local(spec: ClusterSpec) -> Iterator[Client]:
    """Start scheduler and workers; they end with the context, and die with this process."""
    with (
        dask.config.set(CONFIG),
        SpecCluster(
            name="patchlake",
            scheduler={"cls": Scheduler, "options": scheduler_options(spec)},
            workers={i: {"cls": _Nanny, "options": options} for i, options in enumerate(worker_options(spec))},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def scheduler_options(spec: ClusterSpec) -> dict[str, Any]:
    """Return how the scheduler, in this process, listens."""
    # Without a dashboard there still is a health page; an address keeps it off port 8787 and off the network.
    return {"host": HOST, "port": 0, "dashboard": spec.dashboard, "dashboard_address": f"{HOST}:0"}


def worker_options(spec: ClusterSpec) -> list[dict[str, Any]]:
    """Return each worker's options: the first ones own one GPU each, the others see none."""
    num_workers, gpu_ids = spec.num_workers(), spec.gpu_ids()
    logger = logging.getLogger(__name__)
    common = {
        "host": HOST,
        "nthreads": 1,
        "memory_limit": parse_memory_limit(spec.memory_limit, 1, num_workers, logger=logger),
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        "preload": [IGNORE_CTRL_C],
    }
    with_gpu = [{**common, "resources": GPU, "env": {"CUDA_VISIBLE_DEVICES": gpu}} for gpu in gpu_ids]
    without = {**common, "env": {"CUDA_VISIBLE_DEVICES": ""}}
    return with_gpu + [without] * (num_workers - len(with_gpu))
