"""Index arithmetic: windows of a clip, batches of an epoch, shares of a rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from patchlake.tasks.types import IntArray


@dataclass(frozen=True, slots=True)
class Window:
    """Input of a model: `frames` frames, every `stride`-th stored one."""

    frames: int
    stride: int = 1

    @property
    def span(self) -> int:
        """Stored frames from the first to the last, inclusive."""
        return window_span(self.frames, self.stride)


def window_span(length: int, stride: int) -> int:
    """Return the number of frames from a window's first to its last, inclusive."""
    return (length - 1) * stride + 1


def window_rows(num_rows: int, start: int, length: int, stride: int) -> IntArray:
    """Return (length,) rows of a clip, `stride` apart; past its end the last frame repeats."""
    return np.minimum(start + stride * np.arange(length), num_rows - 1)


def random_start(rng: np.random.Generator, num_rows: int, span: int) -> int:
    """Return a uniformly random first row such that the window fits; 0 if the clip is shorter."""
    return int(rng.integers(0, max(1, num_rows - span + 1)))


def even_starts(num_rows: int, span: int, *, most: int = 8) -> IntArray:
    """Return the first rows of the windows that cover the clip from end to end, at most `most`."""
    count = min(most, -(-num_rows // span))
    return np.linspace(0, max(0, num_rows - span), count).round().astype(np.int64)


def epoch_order(num_clips: int, seed: int, epoch: int) -> IntArray:
    """Return a permutation that depends only on the seed and the epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_clips)


def num_steps(num_clips: int, batch_size: int) -> int:
    """Return the steps of an epoch, the same for every rank; the last batch may be smaller."""
    return -(-num_clips // batch_size)


def rank_share(order: IntArray, step: int, batch_size: int, rank: int, world_size: int) -> IntArray:
    """Return this rank's part of a step's global batch.

    The shares of all steps and ranks hold every element of `order` exactly once; a share may be empty.
    """
    return order[step * batch_size : (step + 1) * batch_size][rank::world_size]
