"""The bare parts of a job, which its speed of light is the sum of; and how a job and its light are timed."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psutil

from patchlake.cluster.connect import Cluster
from patchlake.tasks import frames
from patchlake.tasks.bench import Job, bench_of
from patchlake.tasks.decode import get_decoder
from patchlake.tasks.features.spec import Gatherer, window_frames
from patchlake.tasks.lake import arrays
from patchlake.tasks.plan import Plan, run_of
from patchlake.tasks.planning import Survey
from patchlake.tasks.types import PIXELS, FrameSource, Run

MAX_SHARES = 12
"""Tasks of a light: no more than the job has units."""
Values = npt.NDArray[np.generic]

_blocks: dict[str, Values] = {}
"""On each worker: one stored slot of each product, as the job wrote it."""
_inputs: dict[str, Values] = {}
"""On each worker: what each extractor is given for that slot."""


class Cost(NamedTuple):
    """What something took."""

    wall: float
    cpu: float
    """Seconds of the whole process tree."""
    overhead: float
    """Of those, seconds of this process (coordinator and scheduler) and of Prefect's server."""


class Share(NamedTuple):
    """What one task of a light does."""

    runs: tuple[tuple[Run, FrameSource], ...]
    num_slots: int
    num_windows: dict[str, int]
    """Of each extractor."""


def measured(action: Callable[[], object]) -> Cost:
    """Return what an action costs, over this process and all its children."""
    before, begun = cpu_by_process(), time.perf_counter()
    action()
    wall, after = time.perf_counter() - begun, cpu_by_process()
    spent = {pid: (after[pid][0] - before.get(pid, (0.0, ""))[0], after[pid][1]) for pid in after}
    ours = sum(cpu for pid, (cpu, command) in spent.items() if pid == os.getpid() or "uvicorn" in command)
    return Cost(wall, sum(cpu for cpu, _ in spent.values()), ours)


def cpu_by_process() -> dict[int, tuple[float, str]]:
    """Return user and system seconds, and the command, of this process and of those below it."""
    me, found = psutil.Process(), {}
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
            found[process.pid] = times.user + times.system, " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def interval(ratios: Sequence[float]) -> str:
    """Return the median with its bootstrap 95 % interval."""
    if not len(ratios):
        return "no figure from one round"
    medians = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return f"{np.median(ratios):.3f} [{low:.3f}, {high:.3f}]"


def light_of(cluster: Cluster, job: Job, survey: Survey, plan: Plan) -> tuple[Cost, Counter[str]]:
    """Do the bare parts of a job that has just run on this cluster; return what they cost, and seconds by part.

    The job's shards are removed first, the light's at its end, so that neither pays for the other's.

    Decode and scale: the same files, frames thrown away. Compute: extractors on a stored slot's frames, in memory, a
    slot at once. Write: as many shards as the job wrote, of a stored slot's values, in memory, to new files.
    """
    cluster.each_worker(partial(load_blocks, job, plan.units[0].slots[0]))
    for product in job.products.values():
        shutil.rmtree(job.lake.path / arrays.ROOT / product.name / product.array / "c")
    runs = _whole_runs(survey, plan, cluster.num_workers)
    n = min(MAX_SHARES, len(plan.units))
    num_slots = _spread(sum(len(unit.slots) for unit in plan.units), n)
    spans = [placement.span.num_rows for placement in plan.placements]
    wins = {}
    for name, extractor in bench_of(job).extractors.items():
        size, step = window_frames(extractor)
        wins[name] = _spread(sum(max(0, (rows - size) // step + 1) for rows in spans), n)
    shares = [Share(tuple(runs[i::n]), num_slots[i], {k: v[i] for k, v in wins.items()}) for i in range(n)]
    seconds: Counter[str] = Counter()

    def all_shares() -> None:
        for outcome in cluster.run(partial(bare_parts, job), shares):
            assert outcome.result is not None, outcome.error
            seconds.update(outcome.result)

    cost = measured(all_shares)
    for shard in (job.lake.path / arrays.STAGE).glob("*/c/0/0/0/*"):
        shard.unlink()
    return cost, seconds


def _spread(total: int, n: int) -> list[int]:
    return [total * (i + 1) // n - total * i // n for i in range(n)]


def _whole_runs(survey: Survey, plan: Plan, num_workers: int) -> list[tuple[Run, FrameSource]]:
    """Return each video's rows as one run; a lone video's as one for each worker."""
    parts = num_workers if len(plan.placements) == 1 else 1
    found = []
    for span in (placement.span for placement in plan.placements):
        for i in range(parts):
            run = run_of(span, None, span.num_rows * i // parts, span.num_rows * (i + 1) // parts)
            found.append((run, survey.frame_sources[span.video_id]))
    return found


def load_blocks(job: Job, slot: int) -> None:
    """Read what a slot holds into this worker's memory."""
    for name, product in job.products.items():
        array = arrays.open_array(job.lake, f"{name}/{product.array}")
        _blocks[name] = np.asarray(array[slot * product.rows_per_slot : (slot + 1) * product.rows_per_slot])
    for name, extractor in bench_of(job).extractors.items():
        before, after = extractor.context_frames
        pixels = _blocks[PIXELS]
        _inputs[name] = np.concatenate([*[pixels[:1]] * before, pixels, *[pixels[-1:]] * after])


def bare_parts(job: Job, share: Share) -> dict[str, float]:
    """Do one share of a light; return the seconds of each part."""
    seconds: Counter[str] = Counter()
    for run, source in share.runs:
        request = frames.request_of(run, source, job.frames, start=run.start, stop=run.stop)
        seconds["decode"] += get_decoder().bare(request).wall_seconds
    bench = bench_of(job)
    for name, extractor in bench.extractors.items():
        begun = time.perf_counter()
        around, (size, step) = sum(extractor.context_frames), window_frames(extractor)
        most = (job.layout.slot_frames - size) // step + 1
        counts = [min(most, share.num_windows[name] - first) for first in range(0, share.num_windows[name], most)]
        inputs: list[Any] = [_inputs[name][: (count - 1) * step + size + around] for count in counts]
        if isinstance(extractor, Gatherer):  # full batches
            extractor.gather(inputs)
        else:
            for one in inputs:
                extractor(one)
        seconds[name] = time.perf_counter() - begun
    for name, block in _blocks.items():
        begun = time.perf_counter()
        for _ in range(share.num_slots):  # new files, as a lake's are: overwriting one costs half
            if (staged := bench.writer(name).stage(block)) is not None:
                staged.rename(staged.with_name(f"light-{time.perf_counter_ns()}"))
        seconds["write"] += time.perf_counter() - begun
    return dict(seconds)
