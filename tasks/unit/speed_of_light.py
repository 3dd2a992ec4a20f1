"""Speed of light: what the bare parts of a unit take alone, on the same files and cores, sampled in a few seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.extractor import Hearer, window_frames
from patchlake.tasks.filters import Scene
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.shards import ShardWriter
from patchlake.tasks.types import PIXELS, FrameArray, FrameSource, ReadRange, Unit
from patchlake.tasks.unit.extract import clock_of
from patchlake.tasks.unit.worker_state import Job, WorkerState, worker_state_of
from patchlake.tasks.video import frames
from patchlake.tasks.video.audio import Sound
from patchlake.tasks.video.decoder import get_decoder, get_listener

SAMPLE_SECONDS = 5.0
SAMPLE_ROWS = 256
FILTER_ROWS = 32
"""Some filters take a tenth of a second a frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """Seconds per pixel row of each part, alone on one worker."""

    decode: float
    """Bare decode and scale, frames thrown away."""
    write: float
    """Bare encode and write of every product's shards, arrays in memory."""
    compute: dict[str, float]
    """Bare extractors by product, and `filters`, frames in memory."""


def samples_of(
    units: tuple[Unit, ...], count: int = 24, *, without: frozenset[str] = frozenset()
) -> tuple[tuple[ReadRange, FrameSource], ...]:
    """Return read ranges spread evenly over the units, each with its video.

    `without`: keys of spans that failed, whose clips might end these workers too, or keep them waiting.
    """
    usable = [
        (one, unit)
        for unit in units
        for one in unit.read_ranges
        if one.stop > one.start and one.span_key not in without
    ]
    picked = usable[:: max(1, len(usable) // count)][:count]
    videos = {piece.span_key: piece.video_id for _, u in picked for slot in u.pieces for piece in slot}
    return tuple((one, next(s for s in unit.sources if s.video_id == videos[one.span_key])) for one, unit in picked)


def sample_light(
    job: Job, samples: tuple[tuple[ReadRange, FrameSource], ...], names: frozenset[str] | None = None
) -> Light | None:
    """Measure the parts on this worker for about SAMPLE_SECONDS; None where nothing could be decoded.

    `names`: of the products that this worker computes; by default all.
    """
    bench, decoder = worker_state_of(job), get_decoder()
    seconds, rows = 0.0, 0
    deadline = time.perf_counter() + SAMPLE_SECONDS / 2
    block = bench.slot
    filled = 0
    for read_range, source in samples:
        stop = min(read_range.stop, read_range.start + SAMPLE_ROWS)
        request = frames.request_of(read_range, source, job.frames, start=read_range.start, stop=stop)
        summary = decoder.bare(request)
        if not summary.num_rows:
            continue
        seconds, rows = seconds + summary.wall_seconds, rows + summary.num_rows
        for got, _ in decoder.frames(request):
            room = min(len(got), len(block) - filled)
            block[filled : filled + room] = got[:room]
            filled += room
        if time.perf_counter() > deadline:
            break
    if not rows or not filled:
        return None
    for start in range(filled, len(block), filled):  # a full slot of what was sampled, again and again
        block[start : start + filled] = block[: min(filled, len(block) - start)]
    write, compute = 0.0, {}
    part = block[: min(len(block), 128)]
    if bench.filters:
        compute["filters"] = _filter_seconds(bench, job, part[:FILTER_ROWS], *samples[0]) / len(part[:FILTER_ROWS])
    for name, product in job.products.items():
        if names is not None and name not in names:
            continue
        values = block
        if name != PIXELS and isinstance(extractor := bench.extractors[name], Hearer):
            found, compute[name] = _heard(extractor, product, job, *samples[0])
            values = np.resize(found, (product.rows_per_slot, *product.cell_shape))
        elif name != PIXELS:
            around = np.concatenate([part[: sum(extractor.context_frames)], part])
            extractor(around[: max(16, window_frames(extractor)[0] + sum(extractor.context_frames))])
            clock = clock_of(extractor)
            begun = clock()
            found = extractor(around)
            compute[name] = (clock() - begun) / len(part)
            shape = (product.rows_per_slot, *product.cell_shape)
            values = np.resize(found, shape).astype(product.dtype)
        write += _write_seconds(bench.writer(name), values) / len(block)
    return Light(decode=seconds / rows, write=write, compute=compute)


def _filter_seconds(
    bench: WorkerState, job: Job, part: FrameArray, read_range: ReadRange, source: FrameSource
) -> float:
    """Return the CPU time of all filters on frames that none of them has seen."""
    seconds = 0.0
    for one in bench.filters:
        before, after = one.context_frames
        around = np.concatenate([part[:1].repeat(before, axis=0), part, part[-1:].repeat(after, axis=0)])
        scene = Scene(source=source, boxes=read_range.boxes, grid=job.frames, seconds=np.zeros(len(around)))
        begun = time.thread_time()
        part = one(around, scene)
        seconds += time.thread_time() - begun
    return seconds


def _heard(
    hearer: Hearer, product: Product, job: Job, read_range: ReadRange, source: FrameSource
) -> tuple[npt.NDArray[Any], float]:
    """Return what is heard in some rows from a range's start, and the seconds a frame that takes, decoding included."""
    ticks = frames.clock_of(read_range, source, job.frames.fps).ticks[:SAMPLE_ROWS]
    seconds = np.multiply(ticks, float(frames.tick_seconds(source, job.frames.fps)))
    heads = np.arange(0, max(1, len(ticks) - product.time_size + 1), product.time_stride)
    sound = Sound(get_listener(), source)
    sound.read(0, 1)  # a child has started by then
    begun = time.perf_counter()
    lasts = np.minimum(heads + product.time_size, len(ticks)) - 1
    found = hearer.hear(sound, seconds[heads], seconds[lasts])
    spent = (time.perf_counter() - begun) / len(ticks)
    sound.close()
    return found, spent


def _write_seconds(writer: ShardWriter, values: npt.NDArray[Any]) -> float:
    """Return how long a shard takes, as a new file each time: overwriting one costs half."""
    times, written = [], []
    for i in range(3):
        begun = time.perf_counter()
        if (staged := writer.stage(values)) is not None:
            written.append(staged.rename(staged.with_name(f"light-{i}")))
        times.append(time.perf_counter() - begun)
    for file in written:
        file.unlink()
    return float(np.median(times))
