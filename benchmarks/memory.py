"""Memory of a worker and its decoding child (PSS) along one long file: flat, whatever its length.

    python benchmarks/memory.py [--hours 2] [--size 1920x1080] [--folder FOLDER]

The file is a stream-copied concatenation of a real clip, transcoded once. Printed: the peak over the run of a worker
with its child, and the mean around 10 % of the rows beside that at the end.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

import corpora
import numpy as np
import psutil
from prefect import flow

from patchlake.cluster.connect import connect
from patchlake.flows.load import cluster_spec
from patchlake.flows.session import on_cluster
from patchlake.flows.stages import units
from patchlake.flows.stages.plan import plan_units
from patchlake.flows.stages.survey import survey_sources
from patchlake.tasks import recipe
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.unit import worker_setup

RATE = 25


def pss_of_workers() -> list[float]:
    """Return megabytes of each worker process together with those below it."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("spawn_main" in part for part in process.cmdline()) and process.children():
                family = (process, *process.children(recursive=True))
                found.append(sum(p.memory_full_info().pss for p in family) / 1e6)
        except psutil.Error:
            continue
    return found


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print peak and growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    frames = round(args.hours * 3600 * RATE)
    videos = corpora.one_file(args.folder, width=width, height=height, frames=frames, clip="bottles_table.mp4")
    lake = args.folder / "memory"
    shutil.rmtree(lake, ignore_errors=True)
    text = {"name": "bench", "lake": str(lake), "corpus": {"videos": str(videos)}}
    wanted = recipe.parse(text, base=Path.cwd())
    samples: list[tuple[float, list[float]]] = []
    done = threading.Event()

    with connect(cluster_spec(wanted), setup=worker_setup.setup) as cluster, on_cluster(wanted, cluster) as session:
        survey = survey_sources(session, discover(wanted.corpus))
        plan = plan_units(session, survey)
        begun = time.perf_counter()

        def sample() -> None:
            while not done.wait(0.5):
                samples.append((time.perf_counter() - begun, pss_of_workers()))

        thread = threading.Thread(target=sample)
        thread.start()
        units.run_units(session, survey, plan)
        wall = time.perf_counter() - begun
        done.set()
        thread.join()
    shutil.rmtree(lake)

    def mean(low: float, high: float) -> float:
        return float(np.mean([np.mean(pss) for at, pss in samples if low * wall <= at <= high * wall and pss]))

    early, late = mean(0.08, 0.14), mean(0.9, 0.97)
    peak = max(max(pss) for _, pss in samples if pss)
    print(f"{args.hours:g} h of {args.size}: {plan.num_new_rows} rows in {wall:.0f} s")
    print(f"  peak PSS of a worker and its child  {peak:.0f} MB")
    print(f"  at 10 % of the rows {early:.0f} MB, at the end {late:.0f} MB: {late / early - 1:+.1%}")


if __name__ == "__main__":
    main()
