"""How long workers wait on many short clips: 1 - sum of unit seconds / (workers x wall), tail included.

python benchmarks/short_clips.py [--count 1000] [--repeats 5] [--folder FOLDER]
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
from patchlake.flows import ingest
from patchlake.flows.session import cluster_spec, on_cluster
from patchlake.tasks import recipe, worker
from patchlake.tasks.discover import discover


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print the share of time that workers wait, run by run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    videos = corpora.short_pieces(args.folder, count=args.count)
    lake = args.folder / "short"
    text = {"name": "bench", "lake": str(lake), "corpus": {"videos": str(videos)}, "features": ["edges"]}
    wanted = recipe.parse(text, base=Path.cwd())
    waits = []
    with connect(cluster_spec(wanted), setup=worker.setup) as cluster:
        for _ in range(args.repeats):
            shutil.rmtree(lake, ignore_errors=True)
            with on_cluster(wanted, cluster) as session:
                survey = ingest.survey_sources(session, discover(wanted.corpus))
                plan = ingest.plan_units(session, survey)
                ingest.run_units(session, survey, plan)
                figures, wall = session.figures["ingest"], session.seconds["ingest"]
                waits.append(1 - figures["busy seconds"] / (cluster.num_workers * wall))
                print(
                    f"{len(survey.sources)} clips, {figures['rows']} rows in {figures['units']} units, {wall:.1f} s, "
                    f"padding {figures['padding']:.1%}, workers wait {waits[-1]:.1%}",
                    flush=True,
                )
    print(f"workers wait: median {np.median(waits):.1%} of {args.repeats} runs")
    shutil.rmtree(lake, ignore_errors=True)


if __name__ == "__main__":
    main()
