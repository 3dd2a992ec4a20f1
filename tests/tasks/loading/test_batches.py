"""Batches hold the stored frames of their clips, as a view shows them, whoever makes them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from toy_training import toy_job

from patchlake.tasks.loading.batches import Sampler
from patchlake.tasks.loading.prefetch import prefetch
from patchlake.tasks.loading.reader import ClipFrames, open_frames
from patchlake.tasks.loading.views import IN_ORDER, SHUFFLED, SINGLE_FRAME
from patchlake.tasks.loading.windows import Window


def test_frames_are_the_clip_s_rows_cached_or_not(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    stored = np.asarray(zarr.open_array(job.pixels, mode="r")[:])
    cached = ClipFrames(open_frames(job.pixels), job.clips, None)
    direct = ClipFrames(open_frames(job.pixels), job.clips, (16, 16), cache_bytes=0)
    rows = np.array([5, 2, 2, 7])
    for frames in (cached, direct):
        np.testing.assert_array_equal(frames(3, rows), stored[24 + rows])
    small = ClipFrames(open_frames(job.pixels), job.clips, (8, 4))(3, rows)
    blocks = stored[24 + rows].reshape(4, 8, 2, 4, 4, 3).mean(axis=(2, 4))
    assert small.shape == (4, 8, 4, 3)
    assert np.abs(small - blocks).max() <= 0.51


def test_views_show_the_same_frames_in_their_own_way(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    frames = ClipFrames(open_frames(job.pixels), job.clips, None)
    views = {"in_order": IN_ORDER, "shuffled": SHUFFLED, "single_frame": SINGLE_FRAME}
    samplers = {name: Sampler(frames, job.clips, Window(8), view, seed=0) for name, view in views.items()}
    windows = samplers["in_order"].test_windows(np.array([2, 9]))
    assert windows.tolist() == [[2, 0], [9, 0]]
    batches = {v: s.test(windows) for v, s in samplers.items()}
    assert [c.target for c in (job.clips[2], job.clips[9])] == batches["shuffled"].target_B.tolist()
    ordered, shuffled = batches["in_order"].x_BTHWC, batches["shuffled"].x_BTHWC
    np.testing.assert_array_equal(ordered[1], frames(9, np.arange(8)))
    assert (ordered != shuffled).any()

    def as_bag(x: np.ndarray) -> Counter[bytes]:
        return Counter(frame.tobytes() for frame in x)

    assert [as_bag(x) for x in ordered] == [as_bag(x) for x in shuffled]
    assert batches["single_frame"].x_BTHWC.shape == (2, 1, 16, 16, 3)
    assert as_bag(batches["single_frame"].x_BTHWC[0]) <= as_bag(ordered[0])


def test_a_training_sample_depends_on_seed_epoch_and_clip_only(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    frames = ClipFrames(open_frames(job.pixels), job.clips, None)
    sampler = Sampler(frames, job.clips, Window(8), IN_ORDER, seed=0)
    pair, alone = sampler.train(np.array([4, 7]), 3), sampler.train(np.array([7]), 3)
    np.testing.assert_array_equal(pair.x_BTHWC[1], alone.x_BTHWC[0])
    np.testing.assert_array_equal(pair.gain_BC[1], alone.gain_BC[0])
    assert (sampler.train(np.array([7]), 4).gain_BC != alone.gain_BC).any()
    empty = sampler.train(np.array([], np.int64), 0)
    assert empty.x_BTHWC.shape == (0, 8, 16, 16, 3)


def test_prefetch_keeps_order_and_passes_errors_on() -> None:
    def fail() -> Any:
        raise OSError("disk")

    assert list(prefetch((lambda i=i: i) for i in range(20))) == list(range(20))  # type: ignore[misc]
    ahead = prefetch(iter([lambda: 1, fail]))  # type: ignore[list-item]
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk"):
        next(ahead)
