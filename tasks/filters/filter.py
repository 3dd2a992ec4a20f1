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
    """Of the track; None: the whole frame."""
    grid: FrameGrid
    seconds: FloatArray
    """Of each frame shown, context included, from the video's first displayed frame."""

    def geometry(self, i: int) -> Geometry:
        """Return how frame i was put on the frame grid."""
        at = float(self.seconds[i])
        return tracks.geometry_at(self.boxes, at, self.source, size=self.grid.size, fit=self.grid.fit)


@runtime_checkable
class Filter(Protocol):
    """Frames in, as many frames out, each made from itself and its context alone: how calls are cut changes nothing."""

    version: int
    """Raised when the same frames give other bytes than before; it is part of every key."""
    context_frames: tuple[int, int]
    """Frames wanted before and after each frame; past a span's ends the end frame is repeated."""

    @property
    def digest_parts(self) -> dict[str, Any]:
        """All that decides the bytes besides the frames and `version`: options, digests of models and boxes.

        A filter whose optional attribute `hides` is true takes away what nobody may see: no picture shows it.
        """

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        """Return (n, height, width, 3) RGB frames for (before + n + after, height, width, 3)."""


class FilterOptions(Strict):
    """What every entry of a recipe's `frames.filters` has."""

    kind: str

    @property
    def hidden_boxes(self) -> str | None:
        """File of boxes that the filter hides (`annotations.read_boxes`), which `Scene.source.hidden` then holds."""
        return None
