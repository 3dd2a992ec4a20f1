"""What cluster to use, as the recipe's `cluster:` says it."""

from __future__ import annotations

import glob
import importlib.metadata
import os
from typing import Literal

from dask.utils import parse_bytes
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

Resources = dict[str, float]
"""Abstract amounts that a task holds while it runs, such as {"GPU": 1}."""

GPU: Resources = {"GPU": 1}
"""What a task asks for that needs a GPU to itself."""


class ClusterSpec(BaseModel):
    """A kind of cluster and its size; every worker is one process with one thread."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local", "address"] = Field(
        default="local", description="local: processes on this machine; address: a running scheduler"
    )
    workers: PositiveInt | Literal["auto"] = Field(
        default="auto", description="Worker processes of a local cluster; auto: one per core that may be used"
    )
    memory_limit: str = Field(
        default="auto",
        description="Memory of one local worker, as '4 GiB', past which it is restarted; auto: a fair share",
    )
    gpus: int | Literal["auto"] = Field(
        default="auto",
        description="Local workers that own one GPU each; auto: one per GPU seen, if torch is built for CUDA",
    )
    address: str | None = Field(
        default=None, description="Where the scheduler listens, as in tcp://10.0.0.1:8786 (kind: address)"
    )
    dashboard: bool = Field(
        default=True, description="Serve Dask's dashboard of a local cluster on a free port of 127.0.0.1"
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
        if memory_limit != "auto":
            try:
                parse_bytes(memory_limit)
            except ValueError as error:
                raise ValueError(f"memory_limit is {memory_limit!r}: expected auto or, say, 4 GiB") from error
        return memory_limit

    @model_validator(mode="after")
    def _address_where_needed(self) -> ClusterSpec:
        if self.kind == "address" and not self.address:
            raise ValueError("kind is address, but no address is given: add address: tcp://HOST:PORT")
        if self.kind != "address" and self.address:
            raise ValueError(f"address is {self.address!r}, but kind is {self.kind}: use kind: address, or drop it")
        return self

    def gpu_ids(self) -> list[str]:
        """Name the GPUs to own, as CUDA_VISIBLE_DEVICES spells them; a given number is obeyed."""
        seen = visible_gpus()
        if self.gpus == "auto":
            return seen if torch_uses_cuda() else []
        return (seen + [str(i) for i in range(len(seen), self.gpus)])[: self.gpus]

    def num_workers(self) -> int:
        """Count the worker processes of a local cluster: GPU workers are among them, not on top."""
        wanted = len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers
        return max(wanted, len(self.gpu_ids()))


def visible_gpus() -> list[str]:
    """List this machine's NVIDIA GPUs without importing torch; CUDA_VISIBLE_DEVICES has the last word."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu.strip() for gpu in given.split(",") if gpu.strip() not in ("", "-1")]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def torch_uses_cuda() -> bool:
    """Tell from its version whether torch, if installed, is built for CUDA (importing it takes seconds)."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
