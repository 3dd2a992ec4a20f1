"""What all kinds of clusters share: the part of a recipe's `cluster:` that each has, and what a kind must do."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from patchlake.cluster.parsing import secrets_in
from patchlake.cluster.strict import LocalPath, Strict, resolved

if TYPE_CHECKING:
    from distributed import Client

Resources = dict[str, float]
"""Abstract amounts that a task holds while it runs, for example {"GPU": 1}."""

GPU: Resources = {"GPU": 1}
"""What a task asks for that needs a GPU to itself."""

MEMORY = "MEMORY"
"""Bytes. A worker offers what it may use, an item asks for what it takes, so none starts where it has no room."""

PATIENCE_SECONDS = 60.0
"""How long to wait for workers that are restarting before giving up."""


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

    ca: LocalPath
    cert: LocalPath
    key: LocalPath


class ClusterSpec(Strict):
    """Options of one kind of cluster; every worker is one process with one thread.

    A kind is a subclass: its fields are the keys of the recipe's `cluster:`, `open` starts it. `kinds.registry` maps
    names to kinds.
    """

    more_may_come: ClassVar[bool] = True
    """Whether workers may join after the start, for example from a queue."""
    starts_elsewhere: ClassVar[bool] = False
    """Whether this process starts workers on other machines: `failed_to_start` is asked while workers are missing."""
    start_hint: ClassVar[str] = ""
    """What to try when the cluster does not start; it ends the error's sentence."""

    kind: str
    tls: bool | str | TlsFiles = Field(
        default=False, description="true: certificates for this run alone; or a folder with ca.pem, cert.pem, key.pem"
    )
    dashboard: bool | int = Field(
        default=True, description="Serve Dask's dashboard on a free port of 127.0.0.1, or on the given port"
    )

    @field_validator("dashboard")
    @classmethod
    def _port(cls, dashboard: bool | int) -> bool | int:
        if not isinstance(dashboard, bool) and not 1024 <= dashboard <= 65535:
            raise ValueError(f"dashboard is {dashboard}: expected true, false, or a port from 1024 to 65535")
        return dashboard

    @field_validator("tls")
    @classmethod
    def _tls_folder(cls, tls: bool | str | TlsFiles, info: ValidationInfo) -> bool | str | TlsFiles:
        return resolved(tls, info) if isinstance(tls, str) else tls

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

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[Client]:
        """Start or reach the cluster and yield a client of its own (`set_as_default=False`); end both with the context.

        Jobs get the name. Raises ClusterError, with what to do, for whatever can be foreseen.
        """

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

    @property
    def queue(self) -> str | None:
        """Which queueing system's jobs the workers are; None if they are not jobs."""
        return None

    def dashboard_link(self, client: Client) -> str | None:
        """Return where the dashboard of the client's scheduler is served; None if it is unknown."""
        with suppress(Exception):  # a foreign scheduler may have none
            return str(client.dashboard_link)
        return None

    def failed_to_start(self, deployed: Any) -> dict[str, str]:
        """Return the workers of `client.cluster` that ended before they joined: name -> why."""
        return {}
