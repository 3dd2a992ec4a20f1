"""A unit whose workers died again and again: the pieces that did it are found and left out, the others are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from distributed import KilledWorker

from patchlake.cluster.run_items import Outcome
from patchlake.cluster.spec import Resources
from patchlake.flows.session import Session
from patchlake.flows.telemetry.observe import UnitWatch
from patchlake.tasks.types import PoisonPiece, Unit, UnitResult
from patchlake.tasks.unit import poison_units
from patchlake.tasks.unit.extract import extract_unit, try_unit
from patchlake.tasks.unit.worker_state import Job

T = TypeVar("T")


def store_the_rest(
    session: Session, job: Job, units: list[Unit], needs: Resources | None, watch: UnitWatch
) -> Iterator[UnitResult]:
    """Yield the results of lost units without their culprits; a unit that is lost all the same costs its videos."""
    for unit in units:
        watch.retried(unit, "without_culprits")
        found = find(session, job, unit, needs)
        rest = replace(unit, poison_pieces=tuple(found))
        for outcome in session.cluster.run(partial(extract_unit, job), [rest], resources=needs, alone=True):
            expect_lost_worker(outcome, watch.failed)
            if outcome.result is not None:
                yield watch.done(outcome, outcome.result)
                continue
            watch.failed(outcome)
            message = f"its workers died {'with the rest of' if found else 'only with all of'} unit {unit.unit_id}"
            session.lost |= {source.video_id: f"{message}: {outcome.error}" for source in unit.sources}


def find(session: Session, job: Job, unit: Unit, needs: Resources | None) -> list[PoisonPiece]:
    """Compute each piece with the cluster to itself, storing nothing; return those that end their workers."""
    names = {source.video_id: source.uri for source in unit.sources}
    found = []
    kills = session.cluster.memory_kills
    outcomes = session.cluster.run(
        partial(try_unit, job),
        poison_units.pieces_of(unit),
        resources=needs,
        key=lambda u: f"try-{u.unit_id}",
        alone=True,
    )
    for outcome in outcomes:
        expect_lost_worker(outcome)
        if outcome.error is not None:
            ((piece,),) = outcome.item.pieces
            what = f"rows [{piece.start}, {piece.stop}) of {names[piece.video_id]}"
            for_memory = session.cluster.memory_kills > kills
            how = "took more memory than it may" if for_memory else "died"
            found.append(
                PoisonPiece(
                    span_key=piece.span_key,
                    row_start=piece.row_start,
                    reason="memory" if for_memory else "crash",
                    message=f"every worker {how} that computed {what}, with nothing else at work: left out",
                )
            )
        kills = session.cluster.memory_kills
    return found


def expect_lost_worker(
    outcome: Outcome[T, Any], on_error: Callable[[Outcome[T, Any]], None] = lambda outcome: None
) -> None:
    """An item that kills its workers costs its videos this run; any other error ends the run, and is told before."""
    if outcome.error is not None and not isinstance(outcome.error, KilledWorker):
        on_error(outcome)
        raise outcome.error
