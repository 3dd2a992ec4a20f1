"""What runs, gangs and the cluster itself share while tasks are in flight."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from patchlake.cluster.connection import Connection, StartOptions
from patchlake.cluster.incidents import Incidents
from patchlake.cluster.spec import ClusterSpec
from patchlake.cluster.supervise import Supervisor
from patchlake.cluster.window import Window
from patchlake.cluster.worker.perform import name_of
from patchlake.cluster.workers import Workers


@dataclass(frozen=True)
class Flight:
    """One cluster's connection, its workers, and the tasks on their way."""

    connection: Connection
    workers: Workers
    supervisor: Supervisor
    incidents: Incidents
    window: Window = field(default_factory=Window)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set once: no more items are submitted."""
    session: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names this use of the cluster on the workers."""
    _slowest: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: ClusterSpec, options: StartOptions) -> Flight:
        """Return the parts of a cluster, joined; nothing is started."""
        incidents = Incidents()
        connection = Connection(spec, options, incidents)
        workers = Workers(connection)
        return cls(connection, workers, Supervisor(connection, workers), incidents)

    def slowest_seconds(self, function: Callable[..., object]) -> float:
        """Return how long the function took at most so far; 0 if it never ran."""
        return self._slowest.get(name_of(function), 0.0)

    def note_seconds(self, function: Callable[..., object], seconds: float) -> None:
        """Remember how long a function takes at most, so that none is started that its job would cut off."""
        name = name_of(function)
        self._slowest[name] = max(seconds, self._slowest.get(name, 0.0))
