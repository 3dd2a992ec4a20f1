"""Units fanned out over the cluster, batch by batch; what they wrote is committed as it comes back."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import ThreadPoolTaskRunner

from patchlake.cluster.run_items import NotYet
from patchlake.cluster.spec import Resources
from patchlake.flows.session import Session
from patchlake.flows.stages.deferred import Turns, needs_of
from patchlake.flows.stages.poison_units import expect_lost_worker, store_the_rest
from patchlake.flows.stages.preflight import check_cluster
from patchlake.flows.telemetry import memory
from patchlake.flows.telemetry.observe import UnitWatch
from patchlake.flows.telemetry.progress import Progress
from patchlake.tasks import failpoints
from patchlake.tasks.plan import survey as planning
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import Unit, UnitResult
from patchlake.tasks.unit.commit import Committer, Context
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.worker_state import Job

T = TypeVar("T")

BATCHES_IN_FLIGHT = 2
"""So that no worker waits at a batch's end."""
UNITS_PER_BATCH = 64, 512
"""At least and at most. A Prefect task run per batch: enough to see the work move, few enough to cost nothing. Units
that ended their workers wait for the end of theirs."""
MOST_BATCHES = 512
"""Longer plans have larger batches instead, as far as these may grow: Prefect's server remembers each."""


def run_units(session: Session, survey: Survey, plan: Plan) -> None:
    """Fan the units out over the cluster and commit their receipts, batch by batch."""
    if not plan.all_units:
        return
    first = plan.all_units[0]
    check_cluster(session, first.sources[0].uri if first.sources else None)
    with session.stage("cluster"):
        needs, apart_needs = needs_of(session, plan.units), needs_of(session, plan.apart)
        for wanted in (needs, apart_needs):
            session.cluster.require(wanted)
    committer = Committer(plan, _context(session, survey, plan))
    turns = Turns(session, committer)
    progress = Progress("ingest", total=sum(unit.num_rows for unit in plan.all_units), unit="rows")
    batches, apart = _batches(plan.units), _batches(plan.apart)
    job, watch = job_of(session), UnitWatch(session.run_id)
    figures: Counter[str] = Counter()
    lock = threading.Lock()

    def note(found: Counter[str]) -> None:  # tasks return nothing: Prefect keeps what they return to the run's end
        with lock:
            figures.update(found)

    @task(name="batch", task_run_name=f"batch {{index}} of {len(batches)}", cache_policy=NO_CACHE)
    def batch(index: int) -> None:
        note(_run_batch(session, job, committer, batches[index], batches[index], needs, progress, watch))

    @task(name="batch apart", task_run_name=f"batch apart {{index}} of {len(apart)}", cache_policy=NO_CACHE)
    def batch_apart(index: int) -> None:
        try:
            note(
                _run_batch(session, job, committer, apart[index], turns.of(apart[index]), apart_needs, progress, watch)
            )
        except BaseException:
            session.cluster.stop()  # now, not only when the others are done
            raise

    with session.stage("ingest"), memory.given_back():
        try:
            with _runner() as runner, _runner() as beside:  # their ends wait for the batches
                try:
                    futures = deque(runner.submit(batch, {"index": i}) for i in range(len(batches)))
                    futures_apart = deque(beside.submit(batch_apart, {"index": i}) for i in range(len(apart)))
                    _wait_for(futures)
                    turns.end()
                    _wait_for(futures_apart)
                except BaseException:
                    session.cluster.stop()  # batches stop refilling; units in flight are committed
                    raise
        finally:
            committer.flush()
    progress.close()
    total = session.figures.setdefault("ingest", Counter())
    total.update({**figures, "rows": plan.num_new_rows, "units": len(plan.all_units), "slots": plan.num_slots_written})
    total["padding"] = 1 - total["rows"] / (total["slots"] * plan.layout.slot_frames)
    failpoints.reach("after")


def job_of(session: Session) -> Job:
    """Return what every unit of this run is told."""
    recipe = session.recipe
    return Job(
        key=session.run_id,
        lake=session.lake,
        layout=recipe.layout,
        frames=recipe.frames.grid,
        patches=recipe.patches.grid,
        entries=tuple(entry for entry in recipe.features if entry.name in session.products),
        products=session.products,
        filters=recipe.frames.filters,
    )


def _batches(units: Sequence[T]) -> list[Sequence[T]]:
    """Cut a plan into batches.

    >>> [len(batch) for batch in _batches(range(130))]
    [64, 64, 2]
    >>> [len(_batches(range(count))[0]) for count in (100_000, 1_000_000)]
    [196, 512]
    """
    least, most = UNITS_PER_BATCH
    size = min(max(-(-len(units) // MOST_BATCHES), least), most)
    return [units[i : i + size] for i in range(0, len(units), size)]


def _runner() -> ThreadPoolTaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=BATCHES_IN_FLIGHT)


def _wait_for(futures: deque[PrefectConcurrentFuture[None]]) -> None:
    """Wait for batches, and let go of each: what Prefect knows of one takes 20 KB."""
    while futures:
        futures.popleft().result()


def _run_batch(
    session: Session,
    job: Job,
    committer: Committer,
    units: Sequence[Unit],
    items: Iterable[Unit | NotYet],
    needs: Resources | None,
    progress: Progress,
    watch: UnitWatch,
) -> Counter[str]:
    """Run the units as `items` yields them, and add up what is told of them."""
    figures: Counter[str] = Counter()
    num_rows = {unit.unit_id: unit.num_rows for unit in units}
    for result in _results(session, job, items, needs, watch):
        committer.add(result)
        progress.advance(num_rows[result.unit_id])
        figures["frames decoded"] += result.num_decoded
        figures["frames re-decoded"] += result.num_redecoded
        figures["busy seconds"] += result.seconds  # type: ignore[assignment]
        for receipt in result.receipts:
            figures["bytes"] += receipt.num_bytes
            for part, seconds in receipt.seconds.items():
                figures[f"{part} {receipt.product}"] += seconds  # type: ignore[assignment]
    return figures


def _results(
    session: Session, job: Job, units: Iterable[Unit | NotYet], needs: Resources | None, watch: UnitWatch
) -> Iterator[UnitResult]:
    """Yield what came of the units; those that end their workers come last, without what did it."""
    lost = []
    for outcome in session.cluster.run(
        partial(extract_unit, job), units, resources=needs, key=lambda u: u.unit_id, on_retry=watch.retried
    ):
        expect_lost_worker(outcome, watch.failed)
        if outcome.result is None:
            lost.append(outcome.item)
        else:
            yield watch.done(outcome, outcome.result)
    yield from store_the_rest(session, job, lost, needs, watch)


def _context(session: Session, survey: Survey, plan: Plan) -> Context:
    return Context(
        lake=session.lake,
        tables=session.tables,
        ledger=session.ledger,
        products=session.products,
        placements=session.ledger.placements,
        sources=survey.frame_sources,
        fps=session.recipe.frames.rate,
        clips=planning.clips_by_span(survey, plan),
    )
