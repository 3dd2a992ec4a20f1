"""Recipe sections without a folder of their own: frames, patches, boxes, limits, units."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchlake.tasks import filters as frame_filters
from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import LocalPath, Strict
from patchlake.tasks.types import FrameGrid
from patchlake.tasks.video.limits import Limits as ChildLimits

Positive = Annotated[int, Field(ge=1)]
FOUND = "regions"
"""Value of `tracks.boxes`: the boxes follow regions."""


class Frames(Strict):
    """The frame grid."""

    size: tuple[Positive, Positive] = (224, 224)
    """height, width in pixels."""
    fit: Literal["crop", "letterbox", "stretch"] = "crop"
    fps: Literal["native"] | Annotated[float, Field(ge=0.001, le=1000)] = "native"
    keep: bool = True
    """Whether the lake stores `pixels`."""
    filters: tuple[frame_filters.Entry, ...] = ()
    """Filters applied to frames, in order, before they are stored or used for features."""

    @property
    def rate(self) -> Fraction | None:
        """Grid rate in frames per second, or None for the stream's own."""
        return None if self.fps == "native" else Fraction(repr(self.fps)).limit_denominator(1_000_000)

    @property
    def grid(self) -> FrameGrid:
        """The frame grid as a value for workers."""
        return FrameGrid(size=self.size, fit=self.fit, fps=self.rate)


class Patches(Strict):
    """The grid of classical features, and the chunks of stored frames."""

    size: tuple[Positive, Positive, Positive] = (8, 32, 32)
    """time, y, x in rows and pixels."""
    stride: tuple[Positive, Positive, Positive] | None = None
    """By default the size, so that patches touch."""
    chunk: Literal["frame", "patch"] = "frame"
    """frame: a chunk is the whole frame over one patch length in time; patch: a chunk is one patch."""

    @property
    def grid(self) -> Grid:
        """The patch grid."""
        return Grid(size=self.size, stride=self.stride or self.size)


class Boxes(Strict):
    """Tracks that are boxes."""

    boxes: Literal["regions"] | LocalPath
    """CSV, JSON or Parquet with the columns uri, x, y, width, height and any of track, seconds, label
    (`annotations.read_boxes`); or `regions`: boxes around regions of the whole frame, as long as they are linked over
    time. Write ./regions for a file of that name."""
    product: str = "regions"
    """regions: name of the `regions` feature."""
    min_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """regions: shorter tracks are dropped."""
    most: Positive = 8
    """regions: maximum tracks per video; those with the largest area times seconds are kept."""
    min_travel: Annotated[float, Field(ge=0, le=1)] = 0.0
    """regions: tracks that move less than this from their start, as a share of the frame's diagonal, are dropped."""
    margin: Annotated[float, Field(ge=0, le=10)] = 0.1
    """regions: margin on each side of a box, as a share of its width or height."""

    @property
    def are_found(self) -> bool:
        """Whether the boxes follow regions."""
        return self.boxes == FOUND

    @model_validator(mode="after")
    def _fits_together(self) -> Boxes:
        given = sorted(self.model_fields_set - {"boxes"})
        if given and not self.are_found:
            raise ValueError(f"{given[0]}: got one with boxes {self.boxes}, expected none: it belongs to boxes regions")
        return self


class Limits(Strict):
    """Limits per video; a video that exceeds one is refused, with a reason."""

    wall_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """For one unit's part of a video; only time spent waiting for its frames counts."""
    stall_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Time without progress of the decoder."""
    memory_bytes: Annotated[int, Field(ge=1 << 28)] = 2 << 30
    """Address space of the decoding process."""
    max_pixels: Positive = 8192 * 4320
    """Pixels of a source frame."""
    max_frames: Positive = 50_000_000
    max_seconds: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    min_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Shorter videos are skipped."""

    @property
    def of_child(self) -> ChildLimits:
        """The limits that the decoding process gets."""
        return ChildLimits(**self.model_dump(exclude={"min_seconds"}))


class Units(Strict):
    """Size of the units of work."""

    slot_frames: Positive = 512
    """R: pixel rows of a slot, which is one shard of every product."""
    slots: Positive = 8
    """Maximum number of slots that one unit writes."""
    fused: bool | Literal["auto"] = "auto"
    """Whether the decoding units also compute the features that use a GPU. auto: if every worker has a GPU, or frames
    are not kept; else separate units read stored frames on the workers that have a GPU, while all workers decode."""
