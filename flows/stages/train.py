"""Training on the same workers, from stored frames."""

from __future__ import annotations

import json
import sys
from typing import Any

from patchlake.cluster.gang.run_gang import run_gang
from patchlake.flows.session import Session, current
from patchlake.flows.stages.prefect_task import stage_task
from patchlake.flows.stages.reduce import on_workers
from patchlake.tasks import failpoints
from patchlake.tasks.lake.committed import identity_of
from patchlake.tasks.lake.layout import TRAINING_RESULT
from patchlake.tasks.objectives.objective import StoredProducts
from patchlake.tasks.training.job import TrainJob, check
from patchlake.tasks.training.select import train_job
from patchlake.tasks.types import PIXELS

RANK_MODULE = "patchlake.tasks.training.rank"


def run_training(session: Session) -> None:
    """Train the recipe's model and its controls; a result from the same clips and options is kept."""
    options = session.dataset.recipe.train
    if options is None:
        return
    with session.stage("train"):
        job = train_job(session.dataset.lake, session.dataset.tables, options)
        if (reason := check(job)) is not None:
            session.figures.train = {"skipped": reason}
            print(f"train: skipped. {reason}", file=sys.stderr)
            return
        key = job.key(identity_of(session.dataset.tables, PIXELS))
        known = json.loads(session.dataset.lake.get(TRAINING_RESULT) or b"{}")
        if known.get("key") != key:
            session.begin_work()
            known = {**train_model(options.model.kind), "key": key}
            failpoints.reach("trained")
            session.dataset.lake.put(TRAINING_RESULT, json.dumps(known).encode())
            session.figures.trained = True
        session.figures.train = known


@stage_task("train", "train {name}")
def train_model(name: str) -> dict[str, Any]:
    """Train the recipe's model of this kind, and its controls; return their figures."""
    dataset, options = current().dataset, current().dataset.recipe.train
    assert options is not None
    return _train(current(), train_job(dataset.lake, dataset.tables, options))


def _train(session: Session, job: TrainJob) -> dict[str, Any]:
    result = run_gang(session.cluster, RANK_MODULE, json.loads(job.to_json()), on_event=say)
    stored = StoredProducts(lake=session.dataset.lake, products=tuple(session.dataset.products.values()))
    return result | job.objective.baselines(job.clips, stored, on_workers(session.cluster))


def say(event: dict[str, Any]) -> None:
    """Print what a rank or the gang says, on standard error."""
    if event.get("event") == "epoch":
        print(epoch_sentence(event), file=sys.stderr, flush=True)
    elif event.get("event") == "gang_failed":
        why = event["message"].strip().splitlines()[-1]
        print(f"train: {why}; all ranks start again from the last checkpoint", file=sys.stderr, flush=True)


def epoch_sentence(event: dict[str, Any]) -> str:
    """Return an epoch's figures as a sentence; the objective's own are those that begin with `test_`."""
    head = f"train {event['variant']}: epoch {event['epoch']}, loss {event['train_loss']:.3f}"
    parts = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in event.items() if name.startswith("test_")]
    return ", ".join([head, *parts, f"{event['seconds']:.1f} s"])
