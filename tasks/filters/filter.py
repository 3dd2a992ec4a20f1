"""What a frame filter is. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from patchlake.tasks import tracks
from patchlake.tasks.strict import Strict
from patchlake.tasks.types import BoxPath, FloatArray, FrameArray, FrameGrid, FrameSource, Geometry


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Where and when the frames of one call were taken."""

    source: FrameSource
    boxes: BoxPath | None
    """Boxes of the track; None: the whole frame."""
    grid: FrameGrid
    seconds: FloatArray
    """Time of each frame, context included, from the video's first displayed frame."""

    def geometry(self, i: int) -> Geometry:
        """Return how frame i was mapped to the frame grid."""
        at = float(self.seconds[i])
        return tracks.geometry_at(self.boxes, at, self.source, size=self.grid.size, fit=self.grid.fit)


@runtime_checkable
class Filter(Protocol):
    """Frames in, as many frames out. Each depends only on itself and its context, so the split into calls is free."""

    version: int
    """Increased whenever the same frames give different bytes than before; part of every key."""
    context_frames: tuple[int, int]
    """Frames needed before and after each frame; past a span's ends its end frame is repeated."""

    @property
    def digest_parts(self) -> dict[str, Any]:
        """Everything besides the frames and `version` that determines the bytes: options, digests of models and boxes.

        A filter with the optional attribute `hides` = True removes private content: the report never shows the
        unfiltered frames.
        """

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        """Return (n, height, width, 3) RGB frames for (before + n + after, height, width, 3)."""


class FilterOptions(Strict):
    """Base class of all entries of a recipe's `frames.filters`."""

    kind: str

    @property
    def hidden_boxes(self) -> str | None:
        """Boxes file (`annotations.read_boxes`) that the filter hides; its boxes are given as `Scene.source.hidden`."""
        return None
