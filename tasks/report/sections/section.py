"""What a section of the report is, and its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from patchlake.tasks.canvas import Picture
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.report.facts import Run
from patchlake.tasks.report.maps import PANELS
from patchlake.tasks.report.sample import ClipView, Frames, open_frames, pick_clips


@dataclass(frozen=True, kw_only=True)
class View:
    """A run and its dataset, as input of the report. Pictures read a few rows of the arrays, chosen by a fixed seed."""

    dataset: Dataset
    run: Run

    @cached_property
    def clips(self) -> list[ClipView]:
        """Clips of as many labels as possible, if possible long enough for some patches."""
        grid = self.dataset.recipe.patches.grid
        return pick_clips(self.dataset.tables, PANELS, min_rows=grid.size[0] + 3 * grid.stride[0])

    @property
    def frames(self) -> Frames | None:
        """The stored frames, if the recipe keeps them and the lake has any."""
        return open_frames(self.dataset.lake) if self.dataset.recipe.frames.keep else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading, pictures, and a sentence if there is something to say."""

    title: str
    pictures: list[Picture] = field(default_factory=list)
    sentence: str = ""


SectionsOf = Callable[[View], list[Section]]
"""Type of `sections` in each file of this folder."""
