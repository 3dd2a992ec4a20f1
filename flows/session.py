"""One run: a dataset, a cluster that starts when first needed, a clock for stages, and listeners."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from patchlake.cluster.connect import Cluster, connect
from patchlake.cluster.resources import refuse
from patchlake.cluster.spec import GPU
from patchlake.flows.control import records
from patchlake.flows.control.home import RUN_VARIABLE
from patchlake.flows.load import cluster_spec, load_recipe
from patchlake.flows.telemetry import counters, observe
from patchlake.flows.telemetry.events import Listeners, StageEnded, StageStarted
from patchlake.flows.telemetry.prefect_log import log_to_prefect
from patchlake.flows.telemetry.progress import show_progress
from patchlake.flows.telemetry.unit_log import UnitLog
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.figures import RunFigures
from patchlake.tasks.lake import create, shards
from patchlake.tasks.lake import lock as locks
from patchlake.tasks.lake.arrays import existing_lake, product_attrs
from patchlake.tasks.lake.lock import Lock
from patchlake.tasks.plan.dataset import Dataset, lake_of
from patchlake.tasks.plan.deferred import Workers
from patchlake.tasks.plan.given import read_given
from patchlake.tasks.plan.products import constants_of, extractors_of, products_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage import failures
from patchlake.tasks.storage.location import Location
from patchlake.tasks.unit import preflight, worker_setup


class WorkFound(Exception):
    """There is work to do, met by a run that only looks for some: see `SessionOptions.only_look`."""


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What a caller wants of a run."""

    run_id: str = field(default_factory=records.new_id)
    """Names the run in the lock, in the table `runs`, on its jobs and its Prefect flow run."""
    wait_seconds: float = 0.0
    """How long to wait for a lake that another run owns; then LockedError is raised."""
    performance_report: str | None = None
    """File for Dask's performance report."""
    only_look: bool = False
    """Settle tables and draw the page, but raise WorkFound before any work for a cluster, and before it is planned."""


class Session:
    """What stages share. They fill in `figures`; all else changes by the methods here alone."""

    def __init__(
        self, dataset: Dataset, cluster: Cluster, options: SessionOptions | None = None, *, is_checked: bool = False
    ) -> None:
        """`is_checked`: as the property."""
        options = options or SessionOptions()
        self.cluster = cluster
        self.run_id = options.run_id
        self.started = datetime.now(UTC)
        self.figures = RunFigures()
        self.tell = Listeners([show_progress(), UnitLog(self.run_id), counters.count, log_to_prefect])
        """Passes an event on to all listeners."""
        self._dataset = dataset
        self._is_checked = is_checked
        self._only_look = options.only_look

    @property
    def dataset(self) -> Dataset:
        """The recipe on its lake, as known now."""
        return self._dataset

    def use(self, dataset: Dataset) -> None:
        """Go on with a newer value: reread after a pass, or narrowed to some products."""
        self._dataset = dataset

    def begin_work(self) -> None:
        """Say that work begins that takes a cluster; raises WorkFound in a run that only looks."""
        if self._only_look:
            raise WorkFound

    @property
    def is_checked(self) -> bool:
        """Whether the cluster is known to have what the recipe needs."""
        return self._is_checked

    def note_checked(self) -> None:
        """Remember that it has."""
        self._is_checked = True

    @property
    def workers(self) -> Workers:
        """The workers to plan for. GPUs are counted only if a product takes one: that may start the cluster."""
        takes_gpu = any(p.needs_gpu or p.wants_gpu for p in self.dataset.products.values())
        return Workers(total=self.cluster.size, with_gpu=self.cluster.num_gpu_workers if takes_gpu else 0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; stages of one name add up."""
        self.tell(StageStarted(name))
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.figures.seconds[name] = self.figures.seconds.get(name, 0.0) + seconds
            self.tell(StageEnded(name, seconds))


_current: ContextVar[Session] = ContextVar("session")


def current() -> Session:
    """Return the session of the flow that is under way.

    Prefect records what its tasks are called with: they take names and numbers, and find the rest here.
    """
    return _current.get()


def check(path: str, overrides: Sequence[str]) -> Recipe:
    """Return the recipe if it can be run at all: checks keys, values, corpus, models, cluster; starts nothing."""
    recipe = load_recipe(path, overrides)
    spec, lake = cluster_spec(recipe), lake_of(recipe)
    products = products_of(recipe, extractors_of(recipe)).values()
    if any(p.needs_gpu and product_attrs(lake, p.name) is None for p in products):
        refuse(spec, GPU)  # a product that the lake has may need no work: checked later
    read_given(recipe, discover(recipe.corpus))
    return recipe


def check_lake(recipe: Recipe) -> None:
    """Refuse a recipe whose models can't be loaded, or whose lake does not exist yet."""
    cluster_spec(recipe)
    products_of(recipe, extractors_of(recipe))
    existing_lake(str(lake_of(recipe)))


def setup_of(recipe: Recipe) -> Callable[[], None]:
    """Return what each worker process does once."""
    return partial(worker_setup.setup, recipe.limits.of_child)


def open_cluster(recipe: Recipe, options: SessionOptions | None = None) -> AbstractContextManager[Cluster]:
    """Connect to the recipe's cluster, whose workers must have the versions that are here; jobs bear the run's name."""
    return connect(
        cluster_spec(recipe),
        setup=setup_of(recipe),
        packages=preflight.PACKAGES,
        name=records.name_of(options.run_id) if options is not None else "patchlake",
        before_start=_raise_work_found if options is not None and options.only_look else None,
        on_start=observe.say_dashboard,
        performance_report=options.performance_report if options is not None else None,
    )


def _raise_work_found() -> None:
    raise WorkFound


_early: ContextVar[Cluster | None] = ContextVar("cluster started early", default=None)


@contextmanager
def early_cluster(recipe: Recipe, options: SessionOptions) -> Iterator[None]:
    """Start the cluster of the session that is opened inside, while Prefect is still imported and waited for.

    Only processes of this machine are started early: jobs are submitted once a flow run stands in Prefect.
    """
    os.environ[RUN_VARIABLE] = options.run_id
    if cluster_spec(recipe).kind != "local":
        yield
        return
    with open_cluster(recipe, options) as cluster:
        cluster.start_soon()
        token = _early.set(cluster)
        try:
            yield
        finally:
            _early.reset(token)


@contextmanager
def open_session(recipe: Recipe, options: SessionOptions) -> Iterator[Session]:
    """Own the recipe's lake and open a cluster for it, or use the one that `early_cluster` started."""
    os.environ[RUN_VARIABLE] = options.run_id  # processes of this run inherit it and are found by it
    records.tag_flow_run(options.run_id)
    early = _early.get()
    with (
        nullcontext(early) if early is not None else open_cluster(recipe, options) as cluster,
        on_cluster(recipe, cluster, options) as session,
    ):
        try:
            yield session
        finally:
            cluster.stop()
        if options.performance_report and not cluster.started:
            print("no performance report: the run needed no cluster", file=sys.stderr)


@contextmanager
def on_cluster(recipe: Recipe, cluster: Cluster, options: SessionOptions | None = None) -> Iterator[Session]:
    """Own the recipe's lake (created if missing) for work on a cluster that outlives it."""
    options = options or SessionOptions()
    lake, flow_run = lake_of(recipe), records.flow_run_id()
    with (
        _explained(lake),
        locks.hold(lake, options.run_id, wait_seconds=options.wait_seconds, flow_run=flow_run) as lock,
    ):
        create.make_dataset(lake, constants_of(recipe))
        shards.clear_stage(lake)
        token = _current.set(_session_of(recipe, cluster, lock, options))
        try:
            yield _current.get()
        finally:
            _current.reset(token)
            if not lock.lost:
                shards.clear_stage(lake)


def _session_of(recipe: Recipe, cluster: Cluster, lock: Lock, options: SessionOptions) -> Session:
    """Return a session that writes nothing more once the lock is lost."""
    return Session(Dataset.open(recipe, lock.check), cluster, options)


@contextmanager
def _explained(lake: Location) -> Iterator[None]:
    """Turn any error of a full disk or an unreachable store into one sentence."""
    try:
        yield
    except Exception as error:
        if (sentence := failures.explain(error, lake)) is not None:
            raise sentence from error
        raise
