"""Ingest beside its speed of light: interleaved pairs on one warm cluster.

    python benchmarks/ingest_light.py [--pairs 15] [--sizes 320x240 1280x720] [--folder FOLDER]

Job: pixels only, 224x224, from first submit to last commit. Light: the same files, on the same workers, bare decode
and scale (frames thrown away), then bare encode and write of the same number of shards (frames in memory). Printed:
median of the pairs' ratios with a bootstrap interval, the job against itself (A/A), the ratio in CPU-seconds of the
whole process tree, and the bare decode beside the ffmpeg command doing the same, where ffmpeg is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import corpora
import numpy as np
import psutil
from prefect import flow

from patchlake.cluster.connect import Cluster, connect
from patchlake.flows import ingest
from patchlake.flows.session import cluster_spec, on_cluster
from patchlake.tasks import frames, recipe, worker
from patchlake.tasks.decode import get_decoder
from patchlake.tasks.discover import discover
from patchlake.tasks.extract import Job, bench_of
from patchlake.tasks.types import PIXELS, FrameSource, Run

Timed = tuple[float, float]
"""Wall seconds, CPU-seconds."""


def bare(job: Job, item: tuple[Run, FrameSource]) -> float:
    """Decode a run and throw it away, then write as many shards as it fills; return the seconds of decoding."""
    run, source = item
    summary = get_decoder().bare(frames.request_of(run, source, job.frames, start=run.start, stop=run.stop))
    writer, block = bench_of(job).writer(PIXELS), bench_of(job).slot
    if not block.any():
        block[:] = np.random.default_rng(0).integers(0, 255, (len(block), 1, 1, 3), dtype=np.uint8)
    for i in range(round(summary.num_rows / len(block))):  # new files, as a lake's are: overwriting costs half
        staged = writer.stage(block)
        assert staged is not None
        staged.rename(staged.with_name(f"{os.getpid()}-{run.span_key}-{i}"))
    return summary.wall_seconds


def timed(action: Callable[[], object]) -> Timed:
    """Return the wall and CPU time of an action over this process and all its children."""
    cpu, begun = tree_cpu(), time.perf_counter()
    action()
    return time.perf_counter() - begun, tree_cpu() - cpu


def tree_cpu() -> float:
    """Return user and system seconds of this process and those below it."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def pair(cluster: Cluster, videos: Path, scratch: Path) -> tuple[Timed, Timed, float, int]:
    """Run the job on a fresh lake, then its light; return both times, the light's decoding alone, and the rows."""
    text = {"name": "bench", "lake": str(scratch), "corpus": {"videos": str(videos)}, "cluster": {"kind": "local"}}
    wanted = recipe.parse(text, base=Path.cwd())
    with on_cluster(wanted, cluster) as session:
        survey = ingest.survey_sources(session, discover(wanted.corpus))
        plan = ingest.plan_units(session, survey)
        job = timed(lambda: ingest.run_units(session, survey, plan))
        whole = [(run, survey.frame_sources[video]) for video, run in _whole_runs(session.ledger.placements).items()]
        work = partial(bare, ingest.job_of(session))
        decoding: list[float] = []
        light = timed(lambda: decoding.extend(outcome.result or 0 for outcome in cluster.run(work, whole)))
    shutil.rmtree(scratch)
    return job, light, sum(decoding) / cluster.num_workers, plan.num_new_rows


def _whole_runs(placements: dict[str, object]) -> dict[str, Run]:
    from patchlake.tasks.plan import run_of

    return {p.span.video_id: run_of(p.span, None, 0, p.span.num_rows) for p in placements.values()}  # type: ignore[attr-defined]


def ffmpeg_seconds(videos: Path) -> float | None:
    """Return how long ffmpeg takes to decode and scale all files, two at a time."""
    if shutil.which("ffmpeg") is None:
        return None
    command = "ffmpeg -v error -threads 1 -i {} -vf crop=ih:ih,scale=224:224:flags=bilinear,format=rgb24 -f null -"
    begun = time.perf_counter()
    files = "\n".join(str(p) for p in sorted(videos.iterdir()))
    subprocess.run(["xargs", "-P", "2", "-I{}", *command.split()], input=files, text=True, check=True)
    return time.perf_counter() - begun


def interval(ratios: np.ndarray) -> str:
    """Return the median with its bootstrap 95 % interval."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return f"{np.median(ratios):.3f} [{low:.3f}, {high:.3f}]"


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print a paragraph per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--sizes", nargs="+", default=["320x240", "1280x720"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    spec = cluster_spec(recipe.parse({"name": "b", "lake": "x", "corpus": {"videos": "x"}}, base=Path.cwd()))
    for size in args.sizes:
        width, height = map(int, size.split("x"))
        count = round(2000 * (320 * 240 / (width * height)) ** 0.28)  # about 10 s a job on 2 cores
        videos = corpora.long_files(args.folder, width=width, height=height, frames=count)
        jobs, lights, decodings, rows = [], [], [], 0
        with connect(spec, setup=worker.setup) as cluster:
            pair(cluster, videos, args.folder / "warm")
            for i in range(args.pairs):
                job, light, decoding, rows = pair(cluster, videos, args.folder / f"lake-{i}")
                jobs.append(job)
                lights.append(light)
                decodings.append(decoding)
        job_times, light_times = np.array(jobs), np.array(lights)
        wall, cpu = (light_times / job_times).T
        seconds = np.median(job_times[:, 0])
        print(f"{size}: {rows} rows, job {seconds:.1f} s, {rows / seconds:.0f} frames/s")
        print(f"  measured / light        {interval(wall)}  ({args.pairs} pairs)")
        print(f"  in CPU-seconds          {interval(cpu)}")
        print(f"  job against itself A/A  {interval(job_times[1:, 0] / job_times[:-1, 0])}")
        if (alone := ffmpeg_seconds(videos)) is not None:
            share = alone / np.median(decodings)
            print(f"  the light's decode and scale at {share:.2f} of the rate of the ffmpeg command doing the same")


if __name__ == "__main__":
    main()
