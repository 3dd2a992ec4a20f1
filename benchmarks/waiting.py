"""How long workers wait: 1 - sum of unit seconds / (workers x wall), tail included, on many clips and on one video.

python benchmarks/waiting.py [--corpora clips video] [--count 1000] [--frames 60000] [--repeats 5] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import corpora
import numpy as np
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


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print the share of time that workers wait, run by run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", nargs="+", default=["clips", "video"], choices=["clips", "video"])
    parser.add_argument("--count", type=int, default=1000, help="clips")
    parser.add_argument("--frames", type=int, default=60000, help="of the one video, 320x240")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    for corpus in args.corpora:
        if corpus == "clips":
            videos = corpora.short_pieces(args.folder, count=args.count)
        else:
            videos = corpora.one_file(args.folder, width=320, height=240, frames=args.frames)
        waits = waits_of(videos, args.folder / "waiting", args.repeats)
        print(f"{corpus}: workers wait: median {np.median(waits):.1%} of {args.repeats} runs")


def waits_of(videos: Path, lake: Path, repeats: int) -> list[float]:
    """Run the job on fresh lakes; return the share of the workers' time in which they did nothing."""
    text = {"name": "bench", "lake": str(lake), "corpus": {"videos": str(videos)}, "features": ["edges"]}
    wanted = recipe.parse(text, base=Path.cwd())
    waits = []
    with connect(cluster_spec(wanted), setup=worker_setup.setup) as cluster:
        for _ in range(repeats):
            with on_cluster(wanted, cluster) as session:
                survey = survey_sources(session, discover(wanted.corpus))
                plan = plan_units(session, survey)
                units.run_units(session, survey, plan)
                figures, wall = session.figures.ingest, session.figures.seconds["ingest"]
                assert figures is not None
                waits.append(1 - figures.busy_seconds / (cluster.num_workers * wall))
                print(
                    f"{len(survey.sources)} sources, {figures.rows} rows in {figures.units} units, {wall:.1f} s, "
                    f"padding {figures.padding:.1%}, workers wait {waits[-1]:.1%}",
                    flush=True,
                )
            shutil.rmtree(lake)
    return waits


if __name__ == "__main__":
    main()
