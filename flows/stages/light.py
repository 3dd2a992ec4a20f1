"""The run beside its speed of light, sampled on all workers at once."""

from __future__ import annotations

import sys
from dataclasses import replace

from patchlake.cluster.spec import GPU
from patchlake.flows.session import Session
from patchlake.tasks.plan.deferred import gpu_products
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.unit import speed_of_light
from patchlake.tasks.unit.job import job_of
from patchlake.tasks.unit.light_figures import light_figures
from patchlake.tasks.unit.speed_of_light import Light


def measure_light(session: Session, plan: Plan) -> None:
    """Sample the speed of light of the units just done, and compare the run with it."""
    ingest = session.figures.ingest
    if ingest is None or not ingest.frames_decoded:
        return
    with session.stage("light"):
        deferred = frozenset(name for unit in plan.deferred for name in unit.products)
        lights = _sampled(session, plan, frozenset(session.dataset.products) - deferred)
        on_gpus = _sampled(session, plan, deferred) if deferred else []
    if lights and bool(deferred) == bool(on_gpus):
        light = light_figures(ingest, session.figures.seconds["ingest"], lights, on_gpus)
        session.figures.ingest = replace(ingest, light=light)


def _sampled(session: Session, plan: Plan, names: frozenset[str]) -> list[Light]:
    """Return the light of some products on each of the workers that compute them; [] if that fails."""
    dataset = session.dataset
    gpu = GPU if gpu_products((dataset.products[name] for name in names), session.workers) else None
    failed = frozenset(row["span_key"] for row in dataset.tables.failures.rows())
    samples = speed_of_light.samples_of(plan.all_units, without=failed)
    job = job_of(dataset, session.run_id)
    try:
        answers = session.cluster.each_worker(
            speed_of_light.sample_light, job, samples, names, resources=gpu, skip_lost=True
        )
    except Exception as error:  # all is stored: a figure is not worth the run
        print(f"light: not measured. {error}", file=sys.stderr, flush=True)
        return []
    return [light for light in answers.values() if light is not None]
