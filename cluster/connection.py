"""A cluster's client, which starts the cluster when it is first asked for."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from distributed import Client

from patchlake.cluster import performance
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.incidents import Incidents
from patchlake.cluster.spec import ClusterSpec
from patchlake.cluster.worker.perform import Setup
from patchlake.cluster.worker.versions import versions_of


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What a caller wants of a cluster, of whichever kind it is."""

    setup: Callable[[], None] | None = None
    """Runs once in each worker process, restarted ones too, before any task."""
    packages: tuple[str, ...] = ()
    """A worker on which Python or one of these has another version than here is an error."""
    name: str = "patchlake"
    """Of jobs and of the performance report."""
    before_start: Callable[[], None] | None = None
    """Called before anything starts; what it raises is raised where the cluster was needed."""
    on_start: Callable[[str | None], None] | None = None
    """Called with the dashboard's address, before any worker is waited for."""
    performance_report: str | None = None
    """File for Dask's performance report, from the cluster's start to its end."""


class Connection:
    """Starts a cluster at the first use of its client; any number of threads may ask for that."""

    def __init__(self, spec: ClusterSpec, options: StartOptions, incidents: Incidents) -> None:
        self.spec = spec
        self._options = options
        self._incidents = incidents
        self._stack = ExitStack()
        self._client: Client | None = None
        self._starting = threading.Lock()
        self._closed = False

    @property
    def started(self) -> Client | None:
        """The client if the cluster was started, else None; asking starts nothing."""
        return self._client

    @property
    def client(self) -> Client:
        """Dask's client; asking for it starts the cluster. Raises ClusterError if that fails or it was closed."""
        with self._starting:
            if self._closed:
                raise ClusterError("The cluster is closed: use it inside `with connect(spec) as cluster`.")
            if self._client is None:
                if self._options.before_start is not None:
                    self._options.before_start()
                self._client = self._start()
            return self._client

    def _start(self) -> Client:
        client, options = self._open(), self._options
        self._incidents.follow(client, self._stack)
        if options.performance_report is not None:
            self._stack.enter_context(performance.reporting(client, options.performance_report, options.name))
        if options.on_start is not None:
            options.on_start(self.dashboard_link(client))
        if options.setup is not None or options.packages:
            try:
                client.register_plugin(Setup(options.setup, versions_of(options.packages)))
            except Exception as error:
                self._stack.close()
                raise ClusterError(
                    f"The setup of the workers failed: {error}. Expected it to pass on every worker; "
                    "correct what it names and run again."
                ) from error
        return client

    def _open(self) -> Client:
        try:
            return self._stack.enter_context(self.spec.open(self._options.name))
        except ClusterError:
            raise
        except Exception as error:
            self._stack.close()
            raise ClusterError(
                f"The {self.spec.kind} cluster did not start: {type(error).__name__}: {error}. Expected "
                f"its workers to start{self.spec.start_hint}."
            ) from error

    def dashboard_link(self, client: Client) -> str | None:
        """Return where Dask's dashboard is served; None if there is none."""
        return None if self.spec.dashboard is False else self.spec.dashboard_link(client)

    def close(self) -> None:
        """End what was started; nothing can be started afterwards."""
        with self._starting:
            self._client, self._closed = None, True
            self._stack.close()
