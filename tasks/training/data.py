"""From rows of the frames array to batches of uint8 windows, read ahead by a thread.

Every draw comes from a generator seeded by (seed, epoch, clip), so a sample does not depend on the rank that
makes it nor on what was drawn before, and a resumed run sees what an uninterrupted one would have.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from patchlake.tasks.lake.zarr_config import ZARRS, zarr_settings
from patchlake.tasks.storage.location import Location
from patchlake.tasks.training.job import ClipRows
from patchlake.tasks.training.options import TrainSpec
from patchlake.tasks.training.windows import even_starts, random_start, window_rows, window_span
from patchlake.tasks.types import FrameArray, IntArray

CACHE_BYTES = 2 * 1024**3
"""Clips that fit in so much memory at training resolution are read once; others window by window."""

TEST_SEED = 1_000_003
"""Stands in the place of the epoch where test windows are drawn: they are the same after every epoch."""


def open_frames(path: str) -> zarr.Array[Any]:
    """Open the frames array (time, y, x, channel), uint8, of a folder or s3:// lake for reading."""
    with zarr_settings(ZARRS):
        return zarr.open_array(Location(path).zarr_store(read_only=True), mode="r")


class ClipFrames:
    """The frames of a job's clips at training resolution."""

    def __init__(self, frames: zarr.Array[Any], clips: tuple[ClipRows, ...], size: tuple[int, int] | None) -> None:
        self.size = size or (frames.shape[1], frames.shape[2])
        self.channels = frames.shape[3]
        self._frames = frames
        self._clips = clips
        total = sum(clip.num_rows for clip in clips) * self.size[0] * self.size[1] * self.channels
        self._cache: list[FrameArray] | None = None
        if total <= CACHE_BYTES:
            self._cache = [self._read(clip.row_start, clip.row_stop) for clip in clips]

    def __call__(self, clip: int, rows: IntArray) -> FrameArray:
        """Return (len(rows), height, width, channel) of rows that are counted from the clip's start."""
        if self._cache is not None:
            return self._cache[clip][rows]
        first, last = int(rows.min()), int(rows.max())
        start = self._clips[clip].row_start
        return self._read(start + first, start + last + 1)[rows - first]

    def _read(self, start: int, stop: int) -> FrameArray:
        stored: FrameArray = np.asarray(self._frames[start:stop])
        return stored if stored.shape[1:3] == self.size else _area_resize(stored, self.size)


def _area_resize(frames: FrameArray, size: tuple[int, int]) -> FrameArray:
    import cv2  # only jobs that change the resolution need it

    resized = [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(resized).reshape(len(frames), *size, frames.shape[3]).astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step; may hold no sample."""

    x_BTHWC: FrameArray
    gain_BC: npt.NDArray[np.float32]
    """Brightness and colour jitter, applied on the device; ones at test."""
    y_B: IntArray
    clip_B: IntArray


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes windows of clips; the variant says what the model may see of time."""

    frames: ClipFrames
    clips: tuple[ClipRows, ...]
    spec: TrainSpec
    variant: str

    def train(self, chosen: IntArray, epoch: int) -> Batch:
        """Return a random window of each clip, shifted by up to 1/16 of the frame and with jittered colours.

        No flips, no reversal: directions are labels.
        """
        windows, gains = [], []
        for clip in chosen.tolist():
            rng = np.random.default_rng([self.spec.seed, epoch, clip])
            start = random_start(rng, self.clips[clip].num_rows, self._span)
            windows.append(_shift(self._window(clip, start, rng), rng))
            gains.append(rng.uniform(0.8, 1.25) * rng.uniform(0.9, 1.1, self.frames.channels))
        return self._batch(windows, gains, chosen)

    def test_windows(self, chosen: IntArray) -> IntArray:
        """Return (num_windows, 2): clip and first row of every window that tiles the chosen clips."""
        pairs = [(c, s) for c in chosen.tolist() for s in even_starts(self.clips[c].num_rows, self._span)]
        return np.array(pairs, np.int64).reshape(-1, 2)

    def test(self, windows_N2: IntArray) -> Batch:
        """Return the windows as they are stored."""
        windows = [
            self._window(clip, start, np.random.default_rng([self.spec.seed, TEST_SEED, clip, start]))
            for clip, start in windows_N2.tolist()
        ]
        return self._batch(windows, [np.ones(self.frames.channels)] * len(windows), windows_N2[:, 0])

    @property
    def _span(self) -> int:
        return window_span(self.spec.window_frames, self.spec.window_stride)

    def _window(self, clip: int, start: int, rng: np.random.Generator) -> FrameArray:
        rows = window_rows(self.clips[clip].num_rows, start, self.spec.window_frames, self.spec.window_stride)
        if self.variant == "shuffled":
            rows = rng.permutation(rows)
        elif self.variant == "single_frame":
            rows = rng.choice(rows, 1)
        return self.frames(clip, rows)

    def _batch(self, windows: list[FrameArray], gains: list[Any], chosen: IntArray) -> Batch:
        length = 1 if self.variant == "single_frame" else self.spec.window_frames
        x_BTHWC = np.empty((len(windows), length, *self.frames.size, self.frames.channels), np.uint8)
        for sample, window in enumerate(windows):
            x_BTHWC[sample] = window
        gain_BC = np.array(gains, np.float32).reshape(len(windows), self.frames.channels)
        labels = np.array([self.clips[clip].label for clip in chosen.tolist()], np.int64)
        return Batch(x_BTHWC, gain_BC, labels, chosen)


def _shift(window_THWC: FrameArray, rng: np.random.Generator) -> FrameArray:
    """Move the picture by a random number of pixels, the same for all frames; the edge repeats."""
    height, width = window_THWC.shape[1:3]
    dy, dx = (int(rng.integers(-(n // 16), n // 16 + 1)) for n in (height, width))
    ys, xs = (np.clip(np.arange(n) + d, 0, n - 1) for n, d in ((height, dy), (width, dx)))
    return window_THWC[:, ys][:, :, xs]


def prefetch(makers: Iterator[Callable[[], Batch]], *, depth: int = 3) -> Iterator[Batch]:
    """Yield what the makers return, in order, made ahead by one thread; its error is raised here."""
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return made.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for make in makers:
                if stopped.is_set():
                    return
                put(make())
            put(None)
        except BaseException as error:  # handed to the reader
            put(error)

    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
