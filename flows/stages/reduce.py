"""Reductions over committed products, on the same workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from patchlake.cluster.connect import Cluster
from patchlake.flows.session import Session, current
from patchlake.flows.stages.prefect_task import stage_task
from patchlake.tasks import reductions
from patchlake.tasks.lake.committed import identity_of
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.reductions.reduction import ReductionOptions, Run
from patchlake.tasks.reductions.update import CommittedCells, Slots, is_current, update

NODES_PER_WORKER = 4
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_reductions(session: Session) -> None:
    """Bring every reduction of the recipe up to date; one made from the same rows is kept."""
    with session.stage("reduce"):
        for options in session.dataset.recipe.reduce:
            if not is_current(reductions.build(options), cells_of(session.dataset, options)):
                session.begin_work()
                session.figures.reductions[options.name] = reduce_product(options.name)


@stage_task("reduce", "reduce {name}")
def reduce_product(name: str) -> dict[str, int]:
    """Compute the recipe's reduction of this name, and return its figures."""
    session = current()
    (options,) = (options for options in session.dataset.recipe.reduce if options.name == name)
    run, num_nodes = on_workers(session.cluster), session.cluster.size * NODES_PER_WORKER
    return update(reductions.build(options), cells_of(session.dataset, options), run=run, num_nodes=num_nodes)


def cells_of(dataset: Dataset, options: ReductionOptions) -> CommittedCells:
    """Return the committed cells that a reduction is made from."""
    product = dataset.products[options.product]
    return CommittedCells(
        slots=Slots(lake=dataset.lake, product=product.name, rows_per_slot=product.rows_per_slot),
        channels=product.channels,
        committed=tuple(dataset.ledger.done.get(product.name, ())),
        identity=identity_of(dataset.tables, product.name),
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
