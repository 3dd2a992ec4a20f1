"""Samples of training and test: a clip's rows, its target, and its split."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRows:
    """One clip with a target: the rows [row_start, row_stop) of the frames array."""

    row_start: int
    row_stop: int
    target: int | float
    """As encoded by the objective: the index of a class, or a number."""
    source: int
    """Number of the source video; results count sources, not clips."""
    test: bool

    @property
    def num_rows(self) -> int:
        """Stored frames of the clip."""
        return self.row_stop - self.row_start
