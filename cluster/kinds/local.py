"""A cluster of processes on this machine, bound to 127.0.0.1."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.security import Security
from distributed.worker_memory import parse_memory_limit
from pydantic import Field, PositiveInt, field_validator

from patchlake.cluster.gpus import torch_uses_cuda, visible_gpus
from patchlake.cluster.parsing import bytes_text
from patchlake.cluster.settings import CONFIG, HOST, IGNORE_CTRL_C, local_dashboard, scheduler_options
from patchlake.cluster.spec import GPU, MEMORY, ClusterSpec
from patchlake.cluster.tls import open_security


class LocalSpec(ClusterSpec):
    """Processes on this machine."""

    more_may_come: ClassVar[bool] = False
    start_hint: ClassVar[str] = "; try workers: 1, and a script that starts one needs a main guard"

    kind: Literal["local"] = "local"
    workers: PositiveInt | Literal["auto"] = Field(
        default="auto", description="Worker processes; auto: one per core that may be used"
    )
    memory_limit: str = Field(
        default="auto",
        description="Memory of one worker, e.g. '4 GiB', past which it is restarted; auto: a fair share",
    )
    gpus: int | Literal["auto"] = Field(
        default="auto",
        description="Workers that own one GPU each; auto: one per visible GPU, if torch is built for CUDA",
    )

    @field_validator("gpus")
    @classmethod
    def _gpus_not_negative(cls, gpus: int | str) -> int | str:
        if isinstance(gpus, int) and gpus < 0:
            raise ValueError(f"gpus is {gpus}: expected 0 or more, or auto")
        return gpus

    @field_validator("memory_limit")
    @classmethod
    def _memory_limit_in_bytes(cls, memory_limit: str) -> str:
        return memory_limit if memory_limit == "auto" else bytes_text("memory_limit", memory_limit)

    def gpu_ids(self) -> list[str]:
        """Name the GPUs to own, as CUDA_VISIBLE_DEVICES spells them; a given number is obeyed."""
        seen = visible_gpus()
        if self.gpus == "auto":
            return seen if torch_uses_cuda() else []
        return (seen + [str(i) for i in range(len(seen), self.gpus)])[: self.gpus]

    def num_workers(self) -> int:
        """Count the worker processes: GPU workers are among them, not on top."""
        wanted = len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers
        return max(wanted, len(self.gpu_ids()))

    def size(self) -> tuple[int, int]:
        """Return the number of workers, twice."""
        return self.num_workers(), self.num_workers()

    def num_gpus(self) -> int:
        """Count the GPUs to own."""
        return len(self.gpu_ids())

    @contextmanager
    def open(self, name: str) -> Iterator[Client]:
        """Start scheduler and workers; they end with the context, and die with this process."""
        with (
            dask.config.set(CONFIG),
            open_security(self.tls) as security,
            SpecCluster(
                name="patchlake",
                scheduler={"cls": Scheduler, "options": scheduler_options(HOST, security, dashboard=self.dashboard)},
                workers={
                    i: {"cls": _Nanny, "options": options} for i, options in enumerate(worker_options(self, security))
                },
                security=security,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client

    def dashboard_link(self, client: Client) -> str:
        """Return the dashboard's page of this process."""
        return local_dashboard(client)


class _Nanny(Nanny):
    """Dask's nanny, but at close it kills a worker that is busy after one second instead of four."""

    async def close(  # type: ignore[override]
        self, timeout: float = 1.25, reason: str = "nanny-close"
    ) -> Literal["OK"]:
        """End the worker and this nanny."""
        return await super().close(timeout=timeout, reason=reason)


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
