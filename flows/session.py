"""What one run holds from its first stage to its last."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from patchlake.cluster.connect import Cluster, connect
from patchlake.cluster.resources import refuse
from patchlake.cluster.spec import GPU
from patchlake.flows.control import records
from patchlake.flows.control.home import RUN_VARIABLE
from patchlake.flows.load import cluster_spec, load_recipe
from patchlake.flows.telemetry import observe
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.features.extractor import Extractor
from patchlake.tasks.lake import create, shards
from patchlake.tasks.lake import lock as locks
from patchlake.tasks.lake.arrays import existing_lake, product_attrs
from patchlake.tasks.lake.lock import Lock
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan import products as product
from patchlake.tasks.plan import survey
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage import failures
from patchlake.tasks.storage.location import Location
from patchlake.tasks.unit import preflight, worker_setup
from patchlake.tasks.video.probe import Probed


@dataclass
class Session:
    """A recipe on its lake, with a cluster that starts when first needed."""

    recipe: Recipe
    lake: Location
    tables: Tables
    extractors: dict[str, Extractor]
    products: dict[str, Product]
    ledger: Ledger
    cluster: Cluster
    run_id: str = field(default_factory=records.new_id)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each stage."""
    lost: dict[str, str] = field(default_factory=dict)
    """video_id -> message, of videos whose unit ended with its worker again and again."""
    probed: dict[str, Probed] = field(default_factory=dict)
    """uri -> what probing told in this run."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What the run has to say at its end."""
    checked: bool = False
    """Whether the cluster is known to have what the recipe needs."""

    def reread(self) -> None:
        """Take what the tables say now, before planning once more."""
        self.ledger = Ledger.read(self.tables, self.products, self.recipe.layout)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; stages of one name add up."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def check(path: str, overrides: Sequence[str]) -> Recipe:
    """Return the recipe if it can be run at all: keys, values, corpus, models, cluster; nothing is started."""
    recipe = load_recipe(path, overrides)
    spec, lake = cluster_spec(recipe), Location(recipe.lake) / recipe.name
    products = product.products_of(recipe, product.extractors_of(recipe)).values()
    if any(p.needs_gpu and product_attrs(lake, p.name) is None for p in products):
        refuse(spec, GPU)  # what the lake holds already may be all that is wanted: that is seen later
    survey.read_given(recipe, discover(recipe.corpus))
    return recipe


def check_lake(recipe: Recipe) -> None:
    """Refuse a recipe whose models can't be had, or whose lake is not there yet."""
    cluster_spec(recipe)
    product.products_of(recipe, product.extractors_of(recipe))
    existing_lake(str(Location(recipe.lake) / recipe.name))


def setup_of(recipe: Recipe) -> Callable[[], None]:
    """Return what each worker process does once."""
    return partial(worker_setup.setup, recipe.limits.of_child)


def open_cluster(
    recipe: Recipe, name: str = "patchlake", performance_report: str | None = None
) -> AbstractContextManager[Cluster]:
    """Connect to the recipe's cluster, whose workers must have the versions that are here; jobs get the name."""
    return connect(
        cluster_spec(recipe),
        setup=setup_of(recipe),
        packages=preflight.PACKAGES,
        name=name,
        on_start=observe.say_dashboard,
        performance_report=performance_report,
    )


def session_of(recipe: Recipe, cluster: Cluster, lock: Lock | None = None) -> Session:
    """Return the recipe on its lake as it is; nothing is written. With a lock, nothing is once that is lost."""
    extractors = product.extractors_of(recipe)
    products = product.products_of(recipe, extractors)
    lake = Location(recipe.lake) / recipe.name
    tables = Tables(lake, lock.check if lock else None)
    ledger = Ledger.read(tables, products, recipe.layout)
    session = Session(recipe, lake, tables, extractors, products, ledger, cluster)
    if lock is not None:
        session.run_id = lock.owner.run_id
    return session


@contextmanager
def open_session(
    recipe: Recipe, run_id: str | None = None, wait_seconds: float = 0.0, performance_report: str | None = None
) -> Iterator[Session]:
    """Own the recipe's lake and open a cluster for it; close the cluster at the end.

    `run_id` (by default a new one) names the run in the lock, in the table `runs`, on its jobs and its Prefect flow
    run. A lake that another run owns is waited for; then LockedError is raised. Dask's performance report is written to
    the file named for it.
    """
    run_id = run_id or records.new_id()
    os.environ[RUN_VARIABLE] = run_id  # what this run starts inherits it, and is found by it
    records.tag_flow_run(run_id)
    with (
        open_cluster(recipe, records.name_of(run_id), performance_report) as cluster,
        on_cluster(recipe, cluster, run_id, wait_seconds) as session,
    ):
        try:
            yield session
        finally:
            cluster.stop()
            if performance_report and not cluster.started:
                print("no performance report: the run needed no cluster", file=sys.stderr)


@contextmanager
def on_cluster(
    recipe: Recipe, cluster: Cluster, run_id: str | None = None, wait_seconds: float = 0.0
) -> Iterator[Session]:
    """Own the recipe's lake (made if there is none) for work on a cluster that outlives it."""
    lake = Location(recipe.lake) / recipe.name
    flow_run = records.flow_run_id()
    with (
        _sentences(lake),
        locks.hold(lake, run_id or records.new_id(), wait_seconds=wait_seconds, flow_run=flow_run) as lock,
    ):
        create.make_dataset(lake, recipe.constants)
        shards.clear_stage(lake)
        try:
            yield session_of(recipe, cluster, lock)
        finally:
            if not lock.lost:
                shards.clear_stage(lake)


@contextmanager
def _sentences(lake: Location) -> Iterator[None]:
    """Say in a sentence that the disk is full or the store away, wherever that was met."""
    try:
        yield
    except Exception as error:
        if (sentence := failures.explain(error, lake)) is not None:
            raise sentence from error
        raise
