"""Units fanned out over the cluster, a Prefect task per batch; what they wrote is committed as it comes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from patchlake.flows.session import Session
from patchlake.flows.stages.prefect_task import StageTask, stage_task
from patchlake.flows.stages.preflight import check_cluster
from patchlake.flows.stages.unit_work import UnitWork, needs_of
from patchlake.flows.telemetry import memory
from patchlake.flows.telemetry.events import BatchStarted, WorkEnded, WorkStarted
from patchlake.tasks import failpoints
from patchlake.tasks.figures import IngestFigures
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import Unit

if TYPE_CHECKING:
    from prefect.futures import PrefectConcurrentFuture
    from prefect.task_runners import ThreadPoolTaskRunner

T = TypeVar("T")

BATCHES_IN_FLIGHT = 2
"""So that no worker waits at a batch's end."""
UNITS_PER_BATCH = 64, 512
"""At least and at most. A Prefect task run per batch: enough to see the work move, few enough to cost nothing. Units
that killed their workers are tried again at the end of their batch."""
MOST_BATCHES = 512
"""Longer plans have larger batches instead, as far as these may grow: Prefect's server remembers each."""


class _UnderWay(NamedTuple):
    """The plan that batches are of: they are called with numbers alone, since Prefect looks into all parameters."""

    work: UnitWork
    batches: Sequence[Sequence[Unit]]
    deferred: Sequence[Sequence[Unit]]


_under_way: ContextVar[_UnderWay] = ContextVar("plan under way")


@stage_task("batch", "batch {number} of {count}")
def run_batch(number: int, count: int) -> None:
    """Run a batch of the plan under way, and commit what its units wrote."""
    under_way = _under_way.get()
    under_way.work.tell(BatchStarted(number, count, deferred=False))
    under_way.work.run(under_way.batches[number])


@stage_task("deferred batch", "deferred batch {number} of {count}")
def run_deferred_batch(number: int, count: int) -> None:
    """Run a batch of units that read what other units store, each once that is committed."""
    under_way = _under_way.get()
    under_way.work.tell(BatchStarted(number, count, deferred=True))
    try:
        under_way.work.run_deferred(under_way.deferred[number])
    except BaseException:
        under_way.work.cluster.stop()  # now, not only when the others are done
        raise


def run_units(session: Session, survey: Survey, plan: Plan) -> None:
    """Run all units of a plan and commit their receipts, batch by batch."""
    if not plan.all_units:
        return
    first = plan.all_units[0]
    check_cluster(session, first.sources[0].uri if first.sources else None)
    with session.stage("cluster"):
        needs, deferred_needs = needs_of(session, plan.units), needs_of(session, plan.deferred)
        for wanted in (needs, deferred_needs):
            session.cluster.require(wanted)
    work = UnitWork(session, survey, plan, needs, deferred_needs)
    session.tell(WorkStarted("ingest", sum(unit.num_rows for unit in plan.all_units), unit="rows"))
    with session.stage("ingest"), memory.given_back():
        _run_batches(_UnderWay(work, batches_of(plan.units), batches_of(plan.deferred)))
    session.tell(WorkEnded("ingest"))
    session.figures.note_ingest(work.figures + _figures_of(plan))
    failpoints.reach("after")


def _run_batches(under_way: _UnderWay) -> None:
    """Run all batches, those of deferred units beside the others; commit what is done, also where one fails."""
    work = under_way.work
    token = _under_way.set(under_way)
    try:
        with _runner() as runner, _runner() as beside:  # their ends wait for the batches
            try:
                batches = _submitted(runner, run_batch, len(under_way.batches))
                deferred = _submitted(beside, run_deferred_batch, len(under_way.deferred))
                _wait_for(batches)
                work.deferred.end()
                _wait_for(deferred)
            except BaseException:
                work.cluster.stop()  # batches stop refilling; units in flight are committed
                raise
    finally:
        _under_way.reset(token)
        work.committer.flush()


def _figures_of(plan: Plan) -> IngestFigures:
    slots, slot_frames = plan.num_slots_written, plan.layout.slot_frames
    return IngestFigures.of_plan(plan.num_new_rows, len(plan.all_units), slots, slot_frames=slot_frames)


def batches_of(units: Sequence[T]) -> list[Sequence[T]]:
    """Cut a plan into batches.

    >>> [len(batch) for batch in batches_of(range(130))]
    [64, 64, 2]
    >>> [len(batches_of(range(count))[0]) for count in (100_000, 1_000_000)]
    [196, 512]
    """
    least, most = UNITS_PER_BATCH
    size = min(max(-(-len(units) // MOST_BATCHES), least), most)
    return [units[i : i + size] for i in range(0, len(units), size)]


def _runner() -> ThreadPoolTaskRunner[Any]:
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=BATCHES_IN_FLIGHT)


def _submitted(
    runner: ThreadPoolTaskRunner[Any], batch: StageTask[[int, int], None], count: int
) -> deque[PrefectConcurrentFuture[None]]:
    return deque(runner.submit(batch.task, {"number": number, "count": count}) for number in range(count))


def _wait_for(futures: deque[PrefectConcurrentFuture[None]]) -> None:
    """Wait for batches, and drop each: what Prefect keeps of one takes 20 KB."""
    while futures:
        futures.popleft().result()
