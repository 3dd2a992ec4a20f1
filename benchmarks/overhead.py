"""What a unit costs besides its work, and what the coordinator's memory does over many: units that do nothing.

    python benchmarks/overhead.py [--units 10000] [--from 0] [--folder FOLDER]

Each unit is one slot of four spans with receipts of two products, as a real unit's; planning, Prefect's batches, Dask,
commits and tables are the real ones. Printed: wall time per unit (two workers, nothing else to do: all of it is
overhead) as quantiles over groups of 100 units in the order of their ends, and resident memory of this process
(coordinator and scheduler) and of Prefect's server at every 10,000 units, with its slope from `--from` on: a line
through its values at every 1,000 units, which come and go with what is in hand (a commit, a table that is tended).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from array import array
from fractions import Fraction
from pathlib import Path

import noop
import numpy as np
import psutil
from prefect import flow

from patchlake.cluster.connect import connect
from patchlake.flows.load import cluster_spec
from patchlake.flows.session import Session, on_cluster, setup_of
from patchlake.flows.stages import unit_work, units
from patchlake.flows.stages.plan import plan_units
from patchlake.tasks import recipe
from patchlake.tasks.plan.given import Given
from patchlake.tasks.plan.survey import Survey, survey
from patchlake.tasks.types import FrameIndex, Source, UnitResult, Video
from patchlake.tasks.unit.commit import Committer
from patchlake.tasks.video.probe import Probed

SPAN_ROWS = 128
SPANS_PER_UNIT = 4
GROUP = 100


def survey_of(session: Session, num_videos: int) -> Survey:
    """Return a corpus of clips that exist on paper alone."""
    index = FrameIndex(pts=np.arange(SPAN_ROWS) * 512, key_rows=np.array([0]))
    sources = [Source(uri=f"/{i:07d}.mp4", size=i, version="0") for i in range(num_videos)]
    probed = {source.uri: Probed(source=source, video=video_of(i), index=index) for i, source in enumerate(sources)}
    given = Given(boxes={}, events={}, hidden={}, unmatched={})
    return survey(session.dataset, sources, probed, given)


def video_of(number: int) -> Video:
    """Return a video that nobody filmed."""
    seconds = SPAN_ROWS / 25
    return Video(
        video_id=f"{number:032x}",
        container="mov",
        codec="h264",
        pixel_format="yuv420p",
        width=1280,
        height=720,
        rotation=0,
        sample_aspect=Fraction(1),
        fps=Fraction(25),
        time_base=Fraction(1, 12800),
        num_frames=SPAN_ROWS,
        num_frames_from_header=SPAN_ROWS,
        first_pts=0,
        duration_seconds=seconds,
        duration_seconds_from_header=seconds,
        variable_rate=False,
        counted=False,
        num_video_streams=1,
        has_audio=False,
    )


def resident() -> tuple[float, float]:
    """Return megabytes of this process, and of Prefect's server."""
    me = psutil.Process()
    servers = [p for p in me.children() if any("uvicorn" in part for part in p.cmdline())]
    return me.memory_info().rss / 1e6, sum(p.memory_info().rss for p in servers) / 1e6


class Watch:
    """Notes when units end, and memory at every 1,000."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.times = array("d")
        self.memory: list[tuple[int, float, float]] = []
        self._add = Committer.add

    def add(self, committer: Committer, result: UnitResult) -> None:
        """Stand in for `Committer.add`."""
        self._add(committer, result)
        with self.lock:
            self.times.append(time.perf_counter())
            if (count := len(self.times)) % 1_000 == 0:
                self.memory.append((count, *resident()))
            if count % 10_000 == 0:
                _, ours, server = self.memory[-1]
                print(f"{count:,} units: coordinator and scheduler {ours:.1f} MB, server {server:.1f} MB", flush=True)


@flow(name="benchmark", validate_parameters=False)
def main() -> None:
    """Print quantiles and slopes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--from", dest="first", type=int, default=0, help="units after which memory is to be flat")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    lake = args.folder / "overhead"
    shutil.rmtree(lake, ignore_errors=True)
    text = {"name": "bench", "lake": str(lake), "corpus": {"videos": str(args.folder)}, "features": ["edges"]}
    text["units"] = {"slot_frames": SPAN_ROWS * SPANS_PER_UNIT, "slots": 1}
    wanted = recipe.parse(text, base=Path.cwd())
    watch = Watch()
    Committer.add = lambda self, result: watch.add(self, result)  # type: ignore[method-assign]
    unit_work.extract_unit = noop.no_op
    with connect(cluster_spec(wanted), setup=setup_of(wanted)) as cluster, on_cluster(wanted, cluster) as session:
        found = survey_of(session, args.units * SPANS_PER_UNIT)
        plan = plan_units(session, found)
        begun = time.perf_counter()
        units.run_units(session, found, plan)
        wall = time.perf_counter() - begun
    each = np.diff(np.array([begun, *watch.times])[::GROUP]) / GROUP * 1000
    p50, p90, p99 = np.quantile(each, [0.5, 0.9, 0.99])
    print(f"{len(plan.units):,} units in {wall:.1f} s: {wall / len(plan.units) * 1000:.2f} ms each")
    print(f"ms per unit, over groups of {GROUP}: p50 {p50:.2f}, p90 {p90:.2f}, p99 {p99:.2f}")
    late = np.array([m for m in watch.memory if m[0] >= args.first])
    if len(late) > 1:
        for name, column in (("coordinator and scheduler", 1), ("server", 2)):
            slope = np.polyfit(late[:, 0], late[:, column], 1)[0] * 10_000
            print(f"{name}: {slope:+.2f} MB per 10,000 units from {int(late[0, 0]):,} to {int(late[-1, 0]):,}")
    shutil.rmtree(lake)


if __name__ == "__main__":
    main()
