"""A plan under way: what its batches share, and how one batch runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from patchlake.cluster.run_items import NotYet, Outcome, Retry
from patchlake.cluster.spec import GPU, Resources
from patchlake.flows.session import Session
from patchlake.flows.stages.deferred import DeferredUnits
from patchlake.flows.stages.lost_workers import raise_unless_lost
from patchlake.flows.stages.poison_units import find_poison, without
from patchlake.flows.telemetry.events import UnitDone, UnitFailed, UnitRetried, WorkAdvanced
from patchlake.tasks.figures import IngestFigures
from patchlake.tasks.plan.deferred import gpu_products
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import Unit, UnitResult
from patchlake.tasks.unit import preflight
from patchlake.tasks.unit.commit import Committer
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.job import job_of
from patchlake.tasks.unit.waiting import WaitClock


class UnitWork:
    """The units of a plan on a session's cluster; batches may run in several threads."""

    def __init__(
        self, session: Session, survey: Survey, plan: Plan, needs: Resources | None, deferred_needs: Resources | None
    ) -> None:
        """`needs` and `deferred_needs`: what a worker must offer to do a unit of either kind."""
        self.cluster, self.tell, self.dataset = session.cluster, session.tell, session.dataset
        self.job = job_of(self.dataset, session.run_id)
        self.committer = Committer(self.dataset, survey, plan)
        self.deferred = DeferredUnits(self.dataset, self.committer)
        self._needs, self._deferred_needs = needs, deferred_needs
        self.figures = IngestFigures()
        self._clock = WaitClock()
        self._lock = threading.Lock()

    def run(self, units: Sequence[Unit]) -> None:
        """Run units in any order, on any worker that offers what they need."""
        self._run(units, self._needs)

    def run_deferred(self, units: Sequence[Unit]) -> None:
        """Run units that read stored pixels, each once those are committed."""
        self._run(self.deferred.ready(units), self._deferred_needs)

    def _run(self, units: Iterable[Unit | NotYet], needs: Resources | None) -> None:
        figures = IngestFigures()
        for result in self._results(units, needs):
            self.committer.add(result)
            figures += IngestFigures.of_unit(result)
        with self._lock:
            self.figures += figures

    def _results(self, units: Iterable[Unit | NotYet], needs: Resources | None) -> Iterator[UnitResult]:
        """Yield the units' results; units that kill their workers come last, without their poison pieces."""
        lost = []
        for outcome in self.cluster.run(
            partial(extract_unit, self.job), units, resources=needs, key=_unit_id, on_retry=self._retried
        ):
            if outcome.result is None:
                self._check(outcome)
                lost.append(outcome.item)
            else:
                yield self._done(outcome, outcome.result)
        for unit in lost:
            yield from self._rest(unit, needs)

    def _rest(self, unit: Unit, needs: Resources | None) -> Iterator[UnitResult]:
        """Yield the result of a lost unit without its poison pieces; if it is lost again, that costs its videos."""
        self.tell(UnitRetried(unit, "without_culprits"))
        poison = find_poison(self.cluster, self.job, unit, needs)
        rest = [without(unit, poison)]
        for outcome in self.cluster.run(partial(extract_unit, self.job), rest, resources=needs, alone=True):
            if outcome.result is not None:
                yield self._done(outcome, outcome.result)
                continue
            self._check(outcome)
            self._failed(outcome)
            message = f"its workers died {'with the rest of' if poison else 'only with all of'} unit {unit.unit_id}"
            lost = self.dataset.ledger.lost
            lost |= {source.video_id: f"{message}: {outcome.error}" for source in unit.sources}

    def _done(self, outcome: Outcome[Unit, UnitResult], result: UnitResult) -> UnitResult:
        idle = outcome.idle_seconds
        result = self._clock.with_wait(result, unit_seconds=outcome.seconds, idle_seconds=idle)
        self.tell(UnitDone(outcome.item, result, outcome.worker))
        self.tell(WorkAdvanced("ingest", outcome.item.num_rows))
        return result

    def _retried(self, unit: Unit, why: Retry) -> None:
        self.tell(UnitRetried(unit, why))

    def _check(self, outcome: Outcome[Unit, UnitResult]) -> None:
        """Raise any error except the death of the unit's workers, after reporting it."""
        try:
            raise_unless_lost(outcome)
        except BaseException:
            self._failed(outcome)
            raise

    def _failed(self, outcome: Outcome[Unit, UnitResult]) -> None:
        self.tell(UnitFailed(outcome.item, outcome.error, outcome.worker, outcome.seconds))


def needs_of(session: Session, units: Sequence[Unit]) -> Resources | None:
    """Return what a worker must offer to do any of these units: a GPU, and as much memory as the largest takes."""
    dataset = session.dataset
    names = dict.fromkeys(name for unit in units for name in unit.products)
    gpu = GPU if gpu_products([dataset.products[name] for name in names], session.workers) else {}
    most = max((preflight.unit_bytes(dataset.recipe, dataset.products, unit.products) for unit in units), default=0)
    return {**session.cluster.memory(most), **gpu} or None


def _unit_id(unit: Unit) -> str:
    return unit.unit_id
