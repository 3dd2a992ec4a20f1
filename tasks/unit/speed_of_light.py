"""Speed of light: the time of a unit's bare parts alone, on the same files and cores, sampled in a few seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.extractor import SOUND, Cells, Extractor, window_frames
from patchlake.tasks.filters import Scene
from patchlake.tasks.lake.shards import ShardWriter
from patchlake.tasks.types import PIXELS, FrameArray, FrameSource, ReadRange, Unit
from patchlake.tasks.unit.compute import clock_of
from patchlake.tasks.unit.worker_state import Job, WorkerState, worker_state_of
from patchlake.tasks.video import frames
from patchlake.tasks.video.audio import Sound
from patchlake.tasks.video.decoder import get_decoder, get_listener

SAMPLE_SECONDS = 5.0
SAMPLE_ROWS = 256
PART_ROWS = 128
"""Frames given to each extractor."""
FILTER_ROWS = 32
"""Frames given to each filter; fewer, as some filters take a tenth of a second per frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """Seconds per pixel row of each part, alone on one worker."""

    decode: float
    """Bare decode and scale; frames are discarded."""
    write: float
    """Bare encode and write of every product's shards, arrays in memory."""
    compute: dict[str, float]
    """Bare extractors by product, and `filters`, frames in memory."""


def samples_of(
    units: tuple[Unit, ...], count: int = 24, *, without: frozenset[str] = frozenset()
) -> tuple[tuple[ReadRange, FrameSource], ...]:
    """Return read ranges spread evenly over the units, each with its video.

    `without`: keys of failed spans to leave out, since they might kill or block these workers, too.
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
    """Measure the parts on this worker for about SAMPLE_SECONDS; None if nothing could be decoded.

    `names`: the products that this worker computes; by default all.
    """
    state = worker_state_of(job)
    decode, frames_found = _decode(job, samples, state.slot)
    if not frames_found:
        return None
    for start in range(frames_found, len(state.slot), frames_found):  # repeat the sample to fill the slot
        state.slot[start : start + frames_found] = state.slot[: min(frames_found, len(state.slot) - start)]
    write, compute = 0.0, {}
    part = state.slot[: min(len(state.slot), PART_ROWS)]
    if state.filters:
        few = part[:FILTER_ROWS]
        compute["filters"] = _filter_seconds(state, job, few, *samples[0]) / len(few)
    for name, product in job.products.items():
        if names is not None and name not in names:
            continue
        values: npt.NDArray[Any] = state.slot
        if name != PIXELS:
            found, compute[name] = _compute(state.extractors[name], part, job, *samples[0])
            values = np.resize(found, (product.rows_per_slot, *product.cell_shape)).astype(product.dtype)
        write += _write_seconds(state.writer(name), values) / len(state.slot)
    return Light(decode=decode, write=write, compute=compute)


def _decode(job: Job, samples: tuple[tuple[ReadRange, FrameSource], ...], block: FrameArray) -> tuple[float, int]:
    """Return the seconds per row of bare decoding, and how many frames of `block` it filled."""
    decoder, seconds, rows, filled = get_decoder(), 0.0, 0, 0
    deadline = time.perf_counter() + SAMPLE_SECONDS / 2
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
    return (seconds / rows if rows else 0.0), filled


def _compute(
    extractor: Extractor, part: FrameArray, job: Job, read_range: ReadRange, source: FrameSource
) -> tuple[npt.NDArray[Any], float]:
    """Return an extractor's result for some frames, and its seconds per frame."""
    sound = Sound(get_listener(), source)
    cells, num_frames = _cells(extractor, part, job, read_range, source, sound)
    if extractor.reads == SOUND:
        sound.read(0, 1)  # starts the child before the clock
    else:  # models load at the first call
        few = max(16, window_frames(extractor)[0] + sum(extractor.context_frames))
        extractor.compute([replace(cells, frames=cells.frames[:few])])
    clock = time.perf_counter if extractor.reads == SOUND else clock_of(extractor)  # its child decodes in parallel
    started = clock()
    (found,) = extractor.compute([cells])
    spent = (clock() - started) / num_frames
    sound.close()
    return found, spent


def _filter_seconds(
    state: WorkerState, job: Job, part: FrameArray, read_range: ReadRange, source: FrameSource
) -> float:
    """Return the CPU time of all filters on frames that none of them has cached."""
    seconds = 0.0
    for one in state.filters:
        before, after = one.context_frames
        around = np.concatenate([part[:1].repeat(before, axis=0), part, part[-1:].repeat(after, axis=0)])
        scene = Scene(source=source, boxes=read_range.boxes, grid=job.frames, seconds=np.zeros(len(around)))
        begun = time.thread_time()
        part = one(around, scene)
        seconds += time.thread_time() - begun
    return seconds


def _cells(
    extractor: Extractor, part: FrameArray, job: Job, read_range: ReadRange, source: FrameSource, sound: Sound
) -> tuple[Cells, int]:
    """Return one piece for an extractor (frames in memory, or sound to be read), and how many frames it represents."""
    if extractor.reads != SOUND:
        return Cells(np.concatenate([part[: sum(extractor.context_frames)], part])), len(part)
    ticks = frames.clock_of(read_range, source, job.frames.fps).ticks[:SAMPLE_ROWS]
    seconds = np.multiply(ticks, float(frames.tick_seconds(source, job.frames.fps)))
    heads = np.arange(0, max(1, len(ticks) - extractor.time_size + 1), extractor.time_stride)
    lasts = np.minimum(heads + extractor.time_size, len(ticks)) - 1
    return Cells(part[:0], seconds[heads], seconds[lasts], lambda: sound), len(ticks)


def _write_seconds(writer: ShardWriter, values: npt.NDArray[Any]) -> float:
    """Return the time to write a shard, each time as a new file: overwriting one costs only half."""
    times, written = [], []
    for i in range(3):
        begun = time.perf_counter()
        if (staged := writer.stage(values)) is not None:
            written.append(staged.rename(staged.with_name(f"light-{i}")))
        times.append(time.perf_counter() - begun)
    for file in written:
        file.unlink()
    return float(np.median(times))
