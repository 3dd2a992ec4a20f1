"""Reductions over committed products, on the same workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from patchlake.cluster.connect import Cluster
from patchlake.flows.session import Session
from patchlake.tasks import reductions
from patchlake.tasks.lake.committed import identity_of
from patchlake.tasks.reductions.reduction import Reduction, ReductionOptions, Run
from patchlake.tasks.reductions.update import CommittedCells, Slots, is_current, update

NODES_PER_WORKER = 4
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_reductions(session: Session) -> None:
    """Bring every reduction of the recipe up to date; one made from the same rows is not made again."""
    with session.stage("reduce"):
        for options in session.recipe.reduce:
            reduction, cells = reductions.build(options), cells_of(session, options)
            if not is_current(reduction, cells):
                work = partial(_reduce, session, reduction, cells)
                session.figures[options.name] = reduce_product(options.name, work)


@task(name="reduce", task_run_name="reduce {name}", cache_policy=NO_CACHE)
def reduce_product(name: str, reduce: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Reduce one product; the name is the reduction's."""
    return reduce()


def _reduce(session: Session, reduction: Reduction, cells: CommittedCells) -> dict[str, int]:
    num_nodes = session.cluster.size * NODES_PER_WORKER
    return update(reduction, cells, run=on_workers(session.cluster), num_nodes=num_nodes)


def cells_of(session: Session, options: ReductionOptions) -> CommittedCells:
    """Return the committed cells that a reduction is made from."""
    product = session.products[options.product]
    return CommittedCells(
        slots=Slots(lake=session.lake, product=product.name, rows_per_slot=product.rows_per_slot),
        channels=product.channels,
        committed=tuple(session.ledger.done.get(product.name, ())),
        identity=identity_of(session.tables, product.name),
    )


def on_workers(cluster: Cluster) -> Run:
    """Return a `map` whose work is done by the cluster's workers; results come as they are ready."""

    def run(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        for outcome in cluster.run(function, items):
            if outcome.error is not None:
                raise outcome.error
            result: Any = outcome.result
            yield result

    return run
