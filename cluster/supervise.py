"""Workers that could not be started: others are started in their place, and a cause that lasts is told."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import QueueSpec, SshSpec

if TYPE_CHECKING:
    from patchlake.cluster.connect import Cluster

LOOK_SECONDS = 2.0
MOST_TRIES = 20
"""In all: a broken node would swallow job after job."""


class Tender:
    """Looks after the jobs of a queue and the workers over SSH. Dask counts one that never came as on its way."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._looked = 0.0
        self._tries = MOST_TRIES
        self._came = False
        """Whether there ever was a worker."""

    def note_worker(self) -> None:
        """Remember that there was a worker, also one that came and went between two looks."""
        self._came = True

    def look(self) -> None:
        """Replace what did not start; asked often, it looks now and then.

        Raises ClusterError where no worker ever came (the next would do the same) or none is left after many tries.
        """
        spec = self._cluster.spec
        if not isinstance(spec, QueueSpec | SshSpec) or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        count = self._cluster.num_workers
        self._came = self._came or count > 0
        if count >= self._cluster.num_expected():
            return
        deployed: Any = self._cluster.client.cluster
        found = _unborn(spec, deployed)
        if found and count == 0 and (self._tries <= 0 or not self._came):
            raise ClusterError(next(iter(found.values())))
        if found and self._tries > 0:
            self._tries -= len(found)
            deployed.sync(_forget, deployed, list(found))


def _unborn(spec: QueueSpec | SshSpec, deployed: Any) -> dict[str, str]:
    if isinstance(spec, QueueSpec):
        from patchlake.cluster.kinds.jobqueue import unborn

        return unborn(spec, deployed)
    from patchlake.cluster.kinds import ssh

    return ssh.unborn(deployed)


async def _forget(deployed: Any, names: list[str]) -> None:
    """Have Dask see that they are not there, so that it starts others."""
    for name in names:
        deployed.worker_spec.pop(name, None)
        deployed.workers.pop(name, None)
