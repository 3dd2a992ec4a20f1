"""Which frames, which clips: index arithmetic."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from patchlake.tasks.loading.windows import (
    Window,
    epoch_order,
    even_starts,
    num_steps,
    random_start,
    rank_share,
    window_rows,
    window_span,
)


@given(clips=st.integers(1, 200), batch=st.integers(1, 40), world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_shares_hold_every_clip_exactly_once(clips: int, batch: int, world: int, epoch: int) -> None:
    order = epoch_order(clips, 0, epoch)
    shares = [
        [rank_share(order, step, batch, rank, world) for step in range(num_steps(clips, batch))]
        for rank in range(world)
    ]
    assert len({len(steps) for steps in shares}) == 1
    assert sorted(np.concatenate([share for steps in shares for share in steps]).tolist()) == list(range(clips))
    for step in zip(*shares, strict=True):
        assert max(map(len, step)) - min(map(len, step)) <= 1
        assert sum(map(len, step)) <= batch


def test_order_depends_on_seed_and_epoch_alone() -> None:
    np.testing.assert_array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert (epoch_order(50, 1, 2) != epoch_order(50, 1, 3)).any()
    assert (epoch_order(50, 1, 2) != epoch_order(50, 2, 2)).any()


@given(rows=st.integers(1, 300), length=st.integers(1, 20), stride=st.integers(1, 4), seed=st.integers(0, 9))
def test_windows_lie_in_the_clip(rows: int, length: int, stride: int, seed: int) -> None:
    span = window_span(length, stride)
    assert span == Window(length, stride).span
    start = random_start(np.random.default_rng(seed), rows, span)
    window = window_rows(rows, start, length, stride)
    assert len(window) == length
    assert 0 <= window.min() <= window.max() < rows
    starts = even_starts(rows, span)
    assert starts[0] == 0
    assert 1 <= len(starts) <= 8
    if rows >= span:
        assert window[-1] - window[0] == span - 1
        assert len(starts) == 1 or starts[-1] + span == rows


def test_short_clips_repeat_their_last_frame() -> None:
    assert window_rows(3, 0, 6, 1).tolist() == [0, 1, 2, 2, 2, 2]
    assert window_rows(5, 0, 4, 2).tolist() == [0, 2, 4, 4]
    assert even_starts(32, 16).tolist() == [0, 16]
    assert even_starts(40, 16).tolist() == [0, 12, 24]
