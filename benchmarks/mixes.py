"""Fused ingestion beside its speed of light: pixels, three classical features and a network, at three mixes.

    python benchmarks/mixes.py [--rounds 15] [--mixes decode flow model] [--folder FOLDER]

Each mix is one recipe whose time goes mostly into one part: decoding (one long file of 1080p), dense optical flow
(many short files of 320x240), or a network (ResNet-18 with random weights on every second frame of these). Job: from
first submit to last commit. Light: bare decode, bare extractors on frames in memory, bare encode and write of as many
shards (see lightparts). Printed: medians of the rounds' ratios with a bootstrap interval, the job against itself (A/A),
the ratio in CPU-seconds, each part's share of the light, and how many source frames were decoded for how many rows:
files that are cut into units are decoded again from the key frame before each border.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import corpora
import numpy as np
import torch
import transformers
from lightparts import Cost, interval, light_of, measured
from prefect import flow

from patchlake.cluster.connect import Cluster, connect
from patchlake.flows.load import cluster_spec
from patchlake.flows.session import on_cluster, setup_of
from patchlake.flows.stages import units
from patchlake.flows.stages.plan import plan_units
from patchlake.flows.stages.survey import survey_sources
from patchlake.tasks import recipe
from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.figures import IngestFigures
from patchlake.tasks.unit.job import job_of


class Mix(NamedTuple):
    """A recipe in short."""

    size: tuple[int, int]
    """width, height of the source."""
    kind: str
    """one: a long file; short: files of 50 frames."""
    rate: int
    """Frames/s of a job on 2 cores, about."""
    features: tuple[Any, ...]
    """Three classical ones and the options of the network."""
    seconds: float
    """About how long a job takes."""
    slot_frames: int
    """Few enough for units for every worker; enough for a network's batch, where it sees one frame of a file."""


FLOW = {"kind": "flow", "preset": "medium"}
MIXES = {
    "decode": Mix((1920, 1080), "one", 150, ("motion", "edges", "color", {"every": 64}), 12, 128),
    "flow": Mix((320, 240), "short", 190, ("motion", "edges", FLOW, {"every": 64}), 26, 512),
    "model": Mix((320, 240), "short", 90, ("motion", "edges", "color", {"every": 2}), 12, 128),
}


class Round(NamedTuple):
    """One job with its light."""

    job: Cost
    light: Cost
    parts: Counter[str]
    """Seconds of the light's parts, over all workers."""
    figures: IngestFigures


def resnet18(folder: Path) -> Path:
    """Save a ResNet-18 with random weights as transformers do."""
    if not folder.is_dir():
        torch.manual_seed(0)
        shape = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
        transformers.ResNetModel(transformers.ResNetConfig(**shape)).save_pretrained(folder)
    return folder


def recipe_of(mix: Mix, videos: Path, scratch: Path, model: Path) -> recipe.Recipe:
    """Return the recipe of a mix."""
    *classical, network = mix.features
    deep = {"kind": "hf", "path": str(model), "name": "resnet", **network}
    text = {"name": "bench", "lake": str(scratch), "corpus": {"videos": str(videos)}, "features": [*classical, deep]}
    text["units"] = {"slot_frames": mix.slot_frames}
    return recipe.parse(text, base=Path.cwd())


def one_round(cluster: Cluster, wanted: recipe.Recipe) -> Round:
    """Run the job on a fresh lake, then its light."""
    with on_cluster(wanted, cluster) as session:
        survey = survey_sources(session, discover(wanted.corpus))
        plan = plan_units(session, survey)
        job = measured(lambda: units.run_units(session, survey, plan))
        light, parts = light_of(cluster, job_of(session.dataset, session.run_id), survey, plan)
    shutil.rmtree(wanted.lake)
    assert session.figures.ingest is not None
    return Round(job, light, parts, session.figures.ingest)


def report(name: str, rounds: list[Round]) -> None:
    """Print the figures of one mix."""
    walls = np.array([r.job.wall for r in rounds])
    figures, parts = rounds[0].figures, sum((r.parts for r in rounds), Counter[str]())
    rows, decoded = figures.rows, figures.frames_decoded
    print(f"{name}-bound: {rows} rows, job {np.median(walls):.1f} s, {rows / np.median(walls):.0f} frames/s")
    print(f"  measured / light           {interval([r.light.wall / r.job.wall for r in rounds])}")
    print(f"  the same in CPU-seconds    {interval([r.light.cpu / r.job.cpu for r in rounds])}")
    print(f"  job against itself A/A     {interval(walls[1:] / walls[:-1])}")
    print("  shares of the light        " + ", ".join(f"{k} {v / parts.total():.0%}" for k, v in parts.most_common()))
    print(f"  source frames decoded      {decoded} for {rows} rows, {decoded - rows} at borders of units")


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print a paragraph per mix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mixes", nargs="+", default=list(MIXES))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model = resnet18(args.folder / "resnet18")
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in args.mixes:
        mix = MIXES[name]
        width, height = mix.size
        make = corpora.one_file if mix.kind == "one" else corpora.short_files
        videos = make(args.folder, width=width, height=height, frames=int(mix.rate * mix.seconds))
        wanted = [recipe_of(mix, videos, args.folder / f"lake-{i}", model) for i in range(args.rounds + 1)]
        with connect(cluster_spec(wanted[0]), setup=setup_of(wanted[0])) as cluster:
            rounds = [one_round(cluster, one) for one in wanted]
        report(name, rounds[1:])


if __name__ == "__main__":
    main()
