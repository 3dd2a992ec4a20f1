"""What cluster to use, as the recipe's `cluster:` says it: a model per kind, each frozen and strict."""

from __future__ import annotations

import glob
import importlib.metadata
import os
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from patchlake.cluster.parsing import bytes_text, seconds_text, secrets_in, time_text

Resources = dict[str, float]
"""Abstract amounts that a task holds while it runs, such as {"GPU": 1}."""

GPU: Resources = {"GPU": 1}
"""What a task asks for that needs a GPU to itself."""

MEMORY = "MEMORY"
"""Bytes: a worker offers what it may use, an item asks for what it takes, so that none begins where it has no room."""

PATIENCE_SECONDS = 60.0
"""How long to wait for workers that are restarting before giving up."""


class Strict(BaseModel):
    """Unknown keys are errors, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Elastic(Strict):
    """As many workers as there is work for, between two numbers."""

    min: PositiveInt = 1
    max: PositiveInt

    @model_validator(mode="after")
    def _in_order(self) -> Elastic:
        if self.min > self.max:
            raise ValueError(f"workers.min is {self.min}, but workers.max is {self.max}: expected min <= max")
        return self


class TlsFiles(Strict):
    """One certificate for scheduler, workers and client: paths of PEM files."""

    ca: str
    cert: str
    key: str


class ClusterSpec(Strict):
    """A kind of cluster and its size; every worker is one process with one thread."""

    kind: str
    tls: bool | str | TlsFiles = Field(
        default=False, description="true: certificates for this run alone; or a folder with ca.pem, cert.pem, key.pem"
    )
    dashboard: bool | int = Field(
        default=True, description="Serve Dask's dashboard on a free port of 127.0.0.1, or on the port that is given"
    )

    @field_validator("dashboard")
    @classmethod
    def _port(cls, dashboard: bool | int) -> bool | int:
        if not isinstance(dashboard, bool) and not 1024 <= dashboard <= 65535:
            raise ValueError(f"dashboard is {dashboard}: expected true, false, or a port from 1024 to 65535")
        return dashboard

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: object) -> object:
        """A recipe is written into the lake and into job scripts."""
        for name in secrets_in(data):
            raise ValueError(
                f"{name} has no place in a recipe, which is written into the lake: set it in the environment, "
                "from where slurm and ssh workers get it, or in a secret of Kubernetes"
            )
        return data

    def size(self) -> tuple[int, int] | None:
        """Return the least and the most workers; None where only the cluster knows."""
        return None

    def num_gpus(self) -> int | None:
        """Count the workers that own a GPU; None where only the cluster knows."""
        return None

    @property
    def patience_seconds(self) -> float:
        """How long workers may be away before a run gives up."""
        return PATIENCE_SECONDS


class LocalSpec(ClusterSpec):
    """Processes on this machine."""

    kind: Literal["local"] = "local"
    workers: PositiveInt | Literal["auto"] = Field(
        default="auto", description="Worker processes; auto: one per core that may be used"
    )
    memory_limit: str = Field(
        default="auto",
        description="Memory of one worker, as '4 GiB', past which it is restarted; auto: a fair share",
    )
    gpus: int | Literal["auto"] = Field(
        default="auto",
        description="Workers that own one GPU each; auto: one per GPU seen, if torch is built for CUDA",
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


class Waiting(Strict):
    """What a spec has besides where workers may take long to come; it stands before the spec's other base."""

    wait: str

    @field_validator("wait")
    @classmethod
    def _wait_in_seconds(cls, wait: str) -> str:
        return time_text("wait", wait)

    @property
    def patience_seconds(self) -> float:
        """Return `wait` as a number."""
        return seconds_text(self.wait)


class AddressSpec(Waiting, ClusterSpec):
    """A scheduler that runs already."""

    kind: Literal["address"] = "address"
    address: str | None = Field(default=None, description="Where it listens, as in tcp://10.0.0.1:8786")
    scheduler_file: str | None = Field(default=None, description="Or the file into which it wrote that")
    wait: str = Field(default="1 m", description="How long its workers may take to come")

    @model_validator(mode="after")
    def _one_of_both(self) -> AddressSpec:
        if bool(self.address) == bool(self.scheduler_file):
            given = "both are" if self.address else "no address is"
            raise ValueError(f"{given} given: expected address: tcp://HOST:PORT or scheduler_file: PATH")
        if self.tls is True:
            raise ValueError("tls is true, but the scheduler has its certificates: give tls the folder they lie in")
        if self.tls and self.address and not self.address.startswith("tls://"):
            raise ValueError(f"tls is given, but address is {self.address!r}: expected tls://HOST:PORT")
        return self


class ClassSpec(Waiting, ClusterSpec):
    """Any class of Dask's kind, by its dotted path, as dask_kubernetes.operator.KubeCluster."""

    workers: PositiveInt | Elastic = Field(default=1, description="Workers; or {min, max}: as there is work")
    options: dict[str, Any] = Field(default={}, description="Keywords of the class")
    wait: str = Field(default="10 m", description="How long its workers may take to come")

    @field_validator("kind")
    @classmethod
    def _dotted(cls, kind: str) -> str:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", kind):
            raise ValueError(
                f"kind is {kind!r}: expected local, ssh, address, slurm or another queue, "
                "or a class's path as package.Class"
            )
        return kind

    @model_validator(mode="after")
    def _tls_is_the_class_s(self) -> ClassSpec:
        if self.tls:
            raise ValueError("tls: say it in options, as the class spells it")
        return self

    def size(self) -> tuple[int, int]:
        """Return the least and the most workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else (self.workers.min, self.workers.max)


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
