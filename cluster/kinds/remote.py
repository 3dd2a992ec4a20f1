"""Options shared by kinds whose workers are on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from patchlake.cluster.parsing import bytes_text, seconds_text, time_text
from patchlake.cluster.settings import local_dashboard
from patchlake.cluster.spec import ClusterSpec
from patchlake.cluster.strict import Strict

if TYPE_CHECKING:
    from distributed import Client


class Waiting(Strict):
    """A kind whose workers may take long to join. List it before `ClusterSpec` among the bases."""

    wait: str

    @field_validator("wait")
    @classmethod
    def _wait_in_seconds(cls, wait: str) -> str:
        return time_text("wait", wait)

    @property
    def patience_seconds(self) -> float:
        """Return `wait` as a number."""
        return seconds_text(self.wait)


class RemoteSpec(ClusterSpec):
    """Workers on other machines that this process starts; their scheduler is in this process."""

    starts_elsewhere: ClassVar[bool] = True

    interface: str | None = Field(
        default=None, description="Network interface to listen on, e.g. ib0; by default the private address"
    )
    memory: str = Field(default="4 GiB", description="Memory of one worker, past which it is restarted")
    grace: str = Field(
        default="20 s", description="How long a unit may go on after SIGTERM, or before its job's end, to be done"
    )
    python: str | None = Field(default=None, description="The workers' Python; by default the path of this one")

    @field_validator("memory")
    @classmethod
    def _memory_in_bytes(cls, memory: str) -> str:
        return bytes_text("memory", memory)

    @field_validator("grace")
    @classmethod
    def _grace_in_seconds(cls, grace: str) -> str:
        return time_text("grace", grace)

    @property
    def grace_seconds(self) -> float:
        """Return `grace` as a number."""
        return seconds_text(self.grace)

    def dashboard_link(self, client: Client) -> str:
        """Return the dashboard's page of this process; Dask would name the address that workers come to."""
        return local_dashboard(client)
