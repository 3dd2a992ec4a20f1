"""Ingest beside its speed of light, and beside bare processes: interleaved rounds on one warm cluster.

    python benchmarks/ingest_light.py [--rounds 15] [--sizes 320x240 ...] [--corpora one short] [--folder FOLDER]

Job: pixels only, 224x224, from first submit to last commit, on one long file or on many of 50 frames. Light: the same
files on the same workers, bare decode and scale (frames thrown away), then bare encode and write of as many shards to
new files (a stored slot's frames in memory). Bare: the job's units in two plain processes at once, without coordinator,
scheduler and server. Printed: medians of the rounds' ratios with a bootstrap interval, the job against itself (A/A),
the light's ratio in CPU-seconds of the whole process tree, what share of the job's CPU-seconds coordinator, scheduler
and server take together, and the bare decode beside the ffmpeg command doing the same, where ffmpeg is there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import corpora
import numpy as np
from lightparts import Cost, interval, light_of, measured
from prefect import flow

from patchlake.cluster.connect import Cluster, connect
from patchlake.cluster.settings import CONFIG
from patchlake.flows.load import cluster_spec
from patchlake.flows.session import on_cluster
from patchlake.flows.stages import units
from patchlake.flows.stages.plan import plan_units
from patchlake.flows.stages.survey import survey_sources
from patchlake.tasks import recipe
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.types import Unit
from patchlake.tasks.unit import worker_setup
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.job import job_of
from patchlake.tasks.unit.worker_state import Job

RATES = {"320x240": 2600, "1280x720": 900, "1920x1080": 420}
"""Frames/s of a job on 2 cores, about: jobs are made to take 10 s and more."""


class Round(NamedTuple):
    """One job with what it is compared to."""

    job: Cost
    light: Cost
    decoding: float
    """Seconds that the light spent in decoding, per worker."""
    bare: float
    rows: int


def extract_all(job: Job, units: tuple[Unit, ...]) -> None:
    """Do units one after the other, in a plain process."""
    for unit in units:
        extract_unit(job, unit)


def one_round(cluster: Cluster, pool: ProcessPoolExecutor, videos: Path, scratch: Path) -> Round:
    """Run the job on a fresh lake, then its light, then its units in bare processes; each begins with no file left."""
    text = {"name": "bench", "lake": str(scratch), "corpus": {"videos": str(videos)}, "cluster": {"kind": "local"}}
    wanted = recipe.parse(text, base=Path.cwd())
    with on_cluster(wanted, cluster) as session:
        survey = survey_sources(session, discover(wanted.corpus))
        plan = plan_units(session, survey)
        job = measured(lambda: units.run_units(session, survey, plan))
        told = job_of(session.dataset, session.run_id)
        light, seconds = light_of(cluster, told, survey, plan)
        halves = plan.units[::2], plan.units[1::2]
        begun = time.perf_counter()
        list(pool.map(partial(extract_all, told), halves))
        bare = time.perf_counter() - begun
    shutil.rmtree(scratch)
    return Round(job, light, seconds["decode"] / cluster.num_workers, bare, plan.num_new_rows)


def ffmpeg_seconds(videos: Path) -> float | None:
    """Return how long ffmpeg takes to decode and scale all files, two at a time."""
    if shutil.which("ffmpeg") is None:
        return None
    command = "ffmpeg -v error -threads 1 -i {} -vf crop=ih:ih,scale=224:224:flags=bilinear,format=rgb24 -f null -"
    begun = time.perf_counter()
    files = "\n".join(str(p) for p in sorted(videos.iterdir()))
    subprocess.run(["xargs", "-P", "2", "-I{}", *command.split()], input=files, text=True, check=True)
    return time.perf_counter() - begun


def report(size: str, kind: str, rounds: list[Round], videos: Path) -> None:
    """Print the figures of one corpus."""
    wall = np.array([r.light.wall / r.job.wall for r in rounds])
    cpu = np.array([r.light.cpu / r.job.cpu for r in rounds])
    walls = np.array([r.job.wall for r in rounds])
    bare = np.array([r.bare / r.job.wall for r in rounds])
    overhead = np.array([r.job.overhead / r.job.cpu for r in rounds])
    seconds, rows = float(np.median(walls)), rounds[0].rows
    print(f"{size}, {kind}: {rows} rows, job {seconds:.1f} s, {rows / seconds:.0f} frames/s, {len(rounds)} rounds")
    print(f"  measured / light                       {interval(wall)}")
    print(f"  the same in CPU-seconds                {interval(cpu)}")
    print(f"  two bare processes' time / the job's   {interval(bare)}")
    print(f"  CPU of coordinator, scheduler, server  {np.median(overhead):.1%}")
    print(f"  job against itself A/A                 {interval(walls[1:] / walls[:-1])}")
    if kind == "short" and (alone := ffmpeg_seconds(videos)) is not None:
        share = alone / np.median([r.decoding for r in rounds])
        print(f"  the light's decode and scale at {share:.2f} of the rate of the ffmpeg command doing the same")


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print a paragraph per size and corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", nargs="+", default=list(RATES))
    parser.add_argument("--corpora", nargs="+", default=["one", "short"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    parser.add_argument("--seconds", type=float, default=12.0, help="about how long a job shall take")
    args = parser.parse_args()
    spec = cluster_spec(recipe.parse({"name": "b", "lake": "x", "corpus": {"videos": "x"}}, base=Path.cwd()))
    prefix = "distributed.nanny.pre-spawn-environ."
    os.environ |= {key.removeprefix(prefix): str(value) for key, value in CONFIG.items() if key.startswith(prefix)}
    for size in args.sizes:
        width, height = map(int, size.split("x"))
        count = int(RATES.get(size, 900) * args.seconds)
        for kind in args.corpora:
            make = corpora.one_file if kind == "one" else corpora.short_files
            videos = make(args.folder, width=width, height=height, frames=count)
            pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=worker_setup.setup)
            with connect(spec, setup=worker_setup.setup) as cluster, pool:
                one_round(cluster, pool, videos, args.folder / "warm")
                rounds = [one_round(cluster, pool, videos, args.folder / f"lake-{i}") for i in range(args.rounds)]
            report(size, kind, rounds, videos)


if __name__ == "__main__":
    main()
