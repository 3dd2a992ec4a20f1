"""A model's outputs for the test clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from patchlake.tasks.loading.batches import Batch, Sampler
from patchlake.tasks.loading.prefetch import prefetch
from patchlake.tasks.training.group import Group
from patchlake.tasks.types import FloatArray, IntArray


def clip_outputs(
    outputs_of: Callable[[Batch], Tensor],
    sampler: Sampler,
    clips: IntArray,
    *,
    num_outputs: int,
    batch_size: int,
    group: Group,
    device: torch.device,
) -> FloatArray:
    """Return (clips, num_outputs): each clip's outputs, the mean over its windows, on every rank.

    Each rank evaluates its share of the clips; no clip is evaluated twice.
    """
    windows = sampler.test_windows(clips[group.rank :: group.world_size])
    parts = [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]
    place = np.full(len(sampler.clips), -1)
    place[clips] = np.arange(len(clips))
    sums = np.zeros((len(clips), num_outputs + 1))
    with torch.inference_mode():
        for batch in prefetch(partial(sampler.test, part) for part in parts):
            outputs_BK = outputs_of(batch).cpu().double().numpy()
            np.add.at(sums[:, :-1], place[batch.clip_B], outputs_BK)
            np.add.at(sums[:, -1], place[batch.clip_B], 1)
    shared = torch.from_numpy(sums).to(device)
    group.add(shared)
    sums = shared.cpu().numpy()
    return sums[:, :-1] / sums[:, -1:]
