"""Batches of uint8 windows of clips.

Every draw comes from a generator seeded by (seed, epoch, clip), so a sample does not depend on the rank that makes it
or on earlier draws, and a resumed run gets the same samples as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.loading.reader import ClipFrames
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.loading.views import View
from patchlake.tasks.loading.windows import Window, even_starts, random_start, window_rows
from patchlake.tasks.types import FrameArray, IntArray

TEST_SEED = 1_000_003
"""Used instead of the epoch when drawing test windows, so that they are the same after every epoch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step; may be empty."""

    x_BTHWC: FrameArray
    gain_BC: npt.NDArray[np.float32]
    """Brightness and colour jitter, applied on the device; ones at test."""
    target_B: npt.NDArray[Any]
    """int64 or float64, the type of the clips' targets."""
    clip_B: IntArray


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes windows of clips; the view decides which frames the model sees, and in which order."""

    frames: ClipFrames
    clips: Sequence[ClipRows]
    window: Window
    view: View
    seed: int

    def train(self, chosen: IntArray, epoch: int) -> Batch:
        """Return a random window of each clip, shifted by up to 1/16 of the frame and with jittered colours.

        No flips and no reversal, since directions may be labels.
        """
        windows, gains = [], []
        for clip in chosen.tolist():
            rng = np.random.default_rng([self.seed, epoch, clip])
            start = random_start(rng, self.clips[clip].num_rows, self.window.span)
            windows.append(_shift(self._window(clip, start, rng), rng))
            gains.append(rng.uniform(0.8, 1.25) * rng.uniform(0.9, 1.1, self.frames.channels))
        return self._batch(windows, gains, chosen)

    def test_windows(self, chosen: IntArray) -> IntArray:
        """Return (num_windows, 2): clip and first row of every window that tiles the chosen clips."""
        pairs = [(c, s) for c in chosen.tolist() for s in even_starts(self.clips[c].num_rows, self.window.span)]
        return np.array(pairs, np.int64).reshape(-1, 2)

    def test(self, windows_N2: IntArray) -> Batch:
        """Return the windows without augmentation."""
        windows = [
            self._window(clip, start, np.random.default_rng([self.seed, TEST_SEED, clip, start]))
            for clip, start in windows_N2.tolist()
        ]
        return self._batch(windows, [np.ones(self.frames.channels)] * len(windows), windows_N2[:, 0])

    def _window(self, clip: int, start: int, rng: np.random.Generator) -> FrameArray:
        rows = window_rows(self.clips[clip].num_rows, start, self.window.frames, self.window.stride)
        return self.frames(clip, self.view.pick(rows, rng))

    def _batch(self, windows: list[FrameArray], gains: list[Any], chosen: IntArray) -> Batch:
        length = self.view.num_frames(self.window.frames)
        x_BTHWC = np.empty((len(windows), length, *self.frames.size, self.frames.channels), np.uint8)
        for sample, window in enumerate(windows):
            x_BTHWC[sample] = window
        gain_BC = np.array(gains, np.float32).reshape(len(windows), self.frames.channels)
        return Batch(x_BTHWC, gain_BC, np.array([self.clips[clip].target for clip in chosen.tolist()]), chosen)


def _shift(window_THWC: FrameArray, rng: np.random.Generator) -> FrameArray:
    """Shift the picture by a random number of pixels, the same for all frames; edge pixels are repeated."""
    height, width = window_THWC.shape[1:3]
    dy, dx = (int(rng.integers(-(n // 16), n // 16 + 1)) for n in (height, width))
    ys, xs = (np.clip(np.arange(n) + d, 0, n - 1) for n, d in ((height, dy), (width, dx)))
    return window_THWC[:, ys][:, :, xs]
