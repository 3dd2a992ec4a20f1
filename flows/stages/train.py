"""Training on the same workers, from stored frames."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from patchlake.cluster.gang.run_gang import run_gang
from patchlake.flows.session import Session
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
    """Train the recipe's model and its controls; a result from the same clips and options is not made again."""
    options = session.recipe.train
    if options is None:
        return
    with session.stage("train"):
        job = train_job(session.lake, session.tables, options)
        if (reason := check(job)) is not None:
            session.figures["train"] = {"skipped": reason}
            print(f"train: skipped. {reason}", file=sys.stderr)
            return
        key = job.key(identity_of(session.tables, PIXELS))
        known = json.loads(session.lake.get(TRAINING_RESULT) or b"{}")
        if known.get("key") != key:
            known = {**train_model(options.model.kind, partial(_train, session, job)), "key": key}
            failpoints.reach("trained")
            session.lake.put(TRAINING_RESULT, json.dumps(known).encode())
            session.figures["trained"] = True
        session.figures["train"] = known


@task(name="train", task_run_name="train {name}", cache_policy=NO_CACHE)
def train_model(name: str, train: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Train one model and its controls; the name is the model's."""
    return train()


def _train(session: Session, job: TrainJob) -> dict[str, Any]:
    result = run_gang(session.cluster, RANK_MODULE, json.loads(job.to_json()), on_event=say)
    stored = StoredProducts(lake=session.lake, products=tuple(session.products.values()))
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
