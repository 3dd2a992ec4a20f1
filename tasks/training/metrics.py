"""Judging by source: one vote per source, a confusion matrix, and an interval that says how sure we are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchlake.tasks.training.job import ClipRows
from patchlake.tasks.types import FloatArray, IntArray


def wilson_interval(successes: int, n: int, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the Wilson (1927) score interval of a proportion, two-sided 95 %; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = successes / n, z * z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == n else middle + half


@dataclass(frozen=True, slots=True)
class Score:
    """How often sources were told right."""

    confusion: IntArray
    """(K, K) counts of sources [true][predicted]."""

    @property
    def num_sources(self) -> int:
        """Sources judged; one that has clips of several labels counts once per label."""
        return int(self.confusion.sum())

    @property
    def num_correct(self) -> int:
        """Sources on the diagonal."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of the sources that were told right."""
        return self.num_correct / self.num_sources

    def to_dict(self) -> dict[str, Any]:
        """Return what a report shows, as JSON values."""
        return {
            "accuracy": self.accuracy,
            "num_correct": self.num_correct,
            "num_sources": self.num_sources,
            "interval": list(wilson_interval(self.num_correct, self.num_sources)),
            "confusion": self.confusion.tolist(),
        }


def score_sources(logits_NK: FloatArray, clips: list[ClipRows]) -> Score:
    """Score one row of logits per clip: a source's clips of one label vote with the mean of theirs."""
    members: dict[tuple[int, int], list[int]] = {}
    for row, clip in enumerate(clips):
        members.setdefault((clip.source, clip.label), []).append(row)
    confusion = np.zeros((logits_NK.shape[1],) * 2, np.int64)
    for (_, label), rows in members.items():
        confusion[label, int(logits_NK[rows].mean(axis=0).argmax())] += 1
    return Score(confusion)
