"""Training on the same workers, from stored frames."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from patchlake.cluster.gang.run_gang import run_gang
from patchlake.flows.session import Session
from patchlake.tasks import failpoints
from patchlake.tasks.keys import digest
from patchlake.tasks.lake.committed import identity_of
from patchlake.tasks.lake.layout import MODELS, TRAINING_RESULT
from patchlake.tasks.training.job import ClipRows, TrainJob, check
from patchlake.tasks.training.probe import mean_flow_probe
from patchlake.tasks.training.select import clip_speeds, train_job
from patchlake.tasks.types import PIXELS

RANK_MODULE = "patchlake.tasks.training.rank"


def run_training(session: Session) -> None:
    """Train the recipe's model and its controls; a result from the same clips and options is not made again."""
    spec = session.recipe.train
    if spec is None:
        return
    with session.stage("train"):
        job = train_job(session.lake, session.tables, spec, folder=str(session.lake / MODELS))
        if (reason := check(job)) is not None:
            session.figures["train"] = {"skipped": reason}
            print(f"train: skipped. {reason}", file=sys.stderr)
            return
        key = digest("train", [job.digest(variant) for variant in job.variants], identity_of(session.tables, PIXELS))
        known = json.loads(session.lake.get(TRAINING_RESULT) or b"{}")
        if known.get("key") != key:
            train = task(name=f"train {spec.model}", cache_policy=NO_CACHE)(lambda: _train(session, job))
            known = {**train(), "key": key}
            failpoints.reach("trained")
            session.lake.put(TRAINING_RESULT, json.dumps(known).encode())
            session.figures["trained"] = True
        session.figures["train"] = known


def _train(session: Session, job: TrainJob) -> dict[str, Any]:
    result = run_gang(session.cluster, RANK_MODULE, json.loads(job.to_json()), on_event=_say)
    if (flow := _flow_product(session)) is not None:
        result["mean_flow_accuracy"] = _mean_flow(session, job, *flow)
    return result


def _say(event: dict[str, Any]) -> None:
    if event.get("event") == "epoch":
        text = (
            "train {variant}: epoch {epoch}, loss {train_loss:.3f}, test accuracy {test_accuracy:.3f}, {seconds:.1f} s"
        )
        print(text.format(**event), file=sys.stderr, flush=True)
    elif event.get("event") == "gang_failed":
        why = event["message"].strip().splitlines()[-1]
        print(f"train: {why}; all ranks start again from the last checkpoint", file=sys.stderr, flush=True)


def _flow_product(session: Session) -> tuple[str, int, int] | None:
    """Return name, channel and time stride of the speed that a `flow` feature stores, if there is one."""
    for entry in session.recipe.features:
        if entry.kind == "flow":
            product = session.products[entry.name]
            return entry.name, product.channels.index("speed"), product.time_stride
    return None


def _mean_flow(session: Session, job: TrainJob, product: str, channel: int, stride: int) -> float | None:
    """Return how well the mean |flow| of a source alone tells its class."""
    groups = [job.clips[i : i + 64] for i in range(0, len(job.clips), 64)]
    work = partial(clip_speeds, session.lake, product, channel, stride)
    speeds: dict[ClipRows, float] = {}
    for outcome in session.cluster.run(work, groups):
        if outcome.result is None:
            raise outcome.error or RuntimeError("no speeds")
        speeds |= dict(zip(outcome.item, outcome.result, strict=True))
    sources: dict[int, list[ClipRows]] = {}
    for clip in job.clips:
        if not np.isnan(speeds[clip]):
            sources.setdefault(clip.source, []).append(clip)
    sides: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
    for clips in sources.values():
        sides[clips[0].test].append((float(np.mean([speeds[c] for c in clips])), clips[0].label))
    if not sides[True] or len({label for _, label in sides[False]}) < 2:
        return None
    train, test = (np.array(sides[side]) for side in (False, True))
    return mean_flow_probe(train[:, 0], train[:, 1].astype(int), test[:, 0], test[:, 1].astype(int))
