"""A cluster of processes on this machine, bound to 127.0.0.1."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.security import Security
from distributed.worker_memory import parse_memory_limit

from patchlake.cluster.settings import CONFIG, HOST, IGNORE_CTRL_C, scheduler_options
from patchlake.cluster.spec import GPU, MEMORY, LocalSpec
from patchlake.cluster.tls import open_security


class _Nanny(Nanny):
    """Dask's nanny, but at close it kills a worker that is busy after one second instead of four."""

    async def close(  # type: ignore[override]
        self, timeout: float = 1.25, reason: str = "nanny-close"
    ) -> Literal["OK"]:
        """End the worker and this nanny."""
        return await super().close(timeout=timeout, reason=reason)


@contextmanager
def open_local(spec: LocalSpec) -> Iterator[Client]:
    """Start scheduler and workers; they end with the context, and die with this process."""
    with (
        dask.config.set(CONFIG),
        open_security(spec.tls) as security,
        SpecCluster(
            name="patchlake",
            scheduler={"cls": Scheduler, "options": scheduler_options(HOST, security, dashboard=spec.dashboard)},
            workers={
                i: {"cls": _Nanny, "options": options} for i, options in enumerate(worker_options(spec, security))
            },
            security=security,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def worker_options(spec: LocalSpec, security: Security | None = None) -> list[dict[str, Any]]:
    """Return each worker's options: the first ones own one GPU each, the others see none."""
    num_workers, gpu_ids = spec.num_workers(), spec.gpu_ids()
    logger = logging.getLogger(__name__)
    memory = parse_memory_limit(spec.memory_limit, 1, num_workers, logger=logger)
    offered = {MEMORY: memory} if memory else {}
    common = {
        "host": HOST,
        "nthreads": 1,
        "memory_limit": memory,
        "resources": offered,
        "dashboard": False,
        "dashboard_address": f"{HOST}:0",
        "silence_logs": logging.CRITICAL,
        "preload": [IGNORE_CTRL_C],
    }
    if security is not None:
        common |= {"security": security, "protocol": "tls://"}
    with_gpu = [{**common, "resources": offered | GPU, "env": {"CUDA_VISIBLE_DEVICES": gpu}} for gpu in gpu_ids]
    without = {**common, "env": {"CUDA_VISIBLE_DEVICES": ""}}
    return with_gpu + [without] * (num_workers - len(with_gpu))
