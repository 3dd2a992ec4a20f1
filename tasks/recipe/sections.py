"""Sections of a recipe that belong to no folder of their own: frames, patches, boxes, limits, units."""

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
"""As `tracks.boxes`: boxes are those of regions."""


class Frames(Strict):
    """The frame grid."""

    size: tuple[Positive, Positive] = (224, 224)
    """height, width in pixels."""
    fit: Literal["crop", "letterbox", "stretch"] = "crop"
    fps: Literal["native"] | Annotated[float, Field(ge=0.001, le=1000)] = "native"
    keep: bool = True
    """Whether the lake stores `pixels`."""
    filters: tuple[frame_filters.Entry, ...] = ()
    """What is done to frames before they are stored or looked at, in order."""

    @property
    def rate(self) -> Fraction | None:
        """Grid rate in frames per second, or None for the streams' own."""
        return None if self.fps == "native" else Fraction(repr(self.fps)).limit_denominator(1_000_000)

    @property
    def grid(self) -> FrameGrid:
        """The frame grid as workers are told it."""
        return FrameGrid(size=self.size, fit=self.fit, fps=self.rate)


class Patches(Strict):
    """The grid of classical features, and the chunks of stored frames."""

    size: tuple[Positive, Positive, Positive] = (8, 32, 32)
    """time, y, x in rows and pixels."""
    stride: tuple[Positive, Positive, Positive] | None = None
    """By default the size: patches touch."""
    chunk: Literal["frame", "patch"] = "frame"
    """frame: a chunk is one patch length in time by the whole frame; patch: a chunk is one patch."""

    @property
    def grid(self) -> Grid:
        """The patch grid."""
        return Grid(size=self.size, stride=self.stride or self.size)


class Boxes(Strict):
    """Tracks that are boxes."""

    boxes: Literal["regions"] | LocalPath
    """CSV, JSON or Parquet with the columns uri, x, y, width, height and any of track, seconds, label
    (`annotations.read_boxes`); or `regions`: around regions that grow in the whole frame, as far as they are linked
    over time. A file of that name is ./regions."""
    product: str = "regions"
    """regions: name of the features' entry."""
    min_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """regions: shorter tracks are none."""
    most: Positive = 8
    """regions: tracks of one video, those with the largest area times seconds."""
    min_travel: Annotated[float, Field(ge=0, le=1)] = 0.0
    """regions: how far a box gets from where it begins, as a share of the frame's diagonal; else it is none."""
    margin: Annotated[float, Field(ge=0, le=10)] = 0.1
    """regions: what a box has more on each side, as a share of its width or height."""

    @property
    def are_found(self) -> bool:
        """Whether the boxes are those of regions."""
        return self.boxes == FOUND

    @model_validator(mode="after")
    def _fits_together(self) -> Boxes:
        given = sorted(self.model_fields_set - {"boxes"})
        if given and not self.are_found:
            raise ValueError(f"{given[0]}: got one with boxes {self.boxes}, expected none: it belongs to boxes regions")
        return self


class Limits(Strict):
    """What one video may take; one that takes more is refused, with its reason."""

    wall_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """For one unit's part of a video, while its frames are waited for."""
    stall_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Without a sign of life from the decoder."""
    memory_bytes: Annotated[int, Field(ge=1 << 28)] = 2 << 30
    """Address space of the decoding process."""
    max_pixels: Positive = 8192 * 4320
    """Of a source frame."""
    max_frames: Positive = 50_000_000
    max_seconds: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    min_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Shorter videos are skipped."""

    @property
    def of_child(self) -> ChildLimits:
        """As the decoding process is told them."""
        return ChildLimits(**self.model_dump(exclude={"min_seconds"}))


class Units(Strict):
    """The grain of work."""

    slot_frames: Positive = 512
    """R: rows of a slot, which is one shard of every product."""
    slots: Positive = 8
    """The most slots that one task writes."""
    fused: bool | Literal["auto"] = "auto"
    """Whether features that take a GPU are computed by the units that decode. auto: where every worker has one, or
    frames are not kept; else units of their own read stored frames, on the workers that have a GPU, while all workers
    decode."""
