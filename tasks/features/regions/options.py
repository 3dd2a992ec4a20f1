"""Options of `regions`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from patchlake.tasks.features import FEATURES
from patchlake.tasks.features.extractor import FeatureOptions

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Compared = Annotated[FeatureOptions, FEATURES.only("edges", "corners", "hog", "color")]
"""A feature whose vectors are compared cell by cell."""


class RegionsSpec(FeatureOptions):
    """Regions grown in space and spacetime, as labels."""

    kind: Literal["regions"]
    labels: ClassVar[bool] = True
    join: Literal["color", "motion", "features"] = "color"
    """What touching cells are compared by; they join if at most `tolerance` apart. color: mean RGB; motion: optical
    flow (cells slower than `least_motion` are in no region); features: vectors of `feature`."""
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Root mean square over channels. color: grey levels (6); motion: pixels per frame (1); features: the channels'
    standard deviations over the window (0.5)."""
    seeds: Literal["auto"] | Annotated[tuple[tuple[NotNegative, NotNegative], ...], Field(min_length=1)] = "auto"
    """auto: every cell is a seed, so regions are connected areas; or (y, x) positions in frame-grid pixels, from which
    one region grows in each window, starting in its first frame, over cells similar to the seed itself."""
    window: Annotated[int, Field(ge=1, le=32)] = 8
    """Frames of one spacetime block in which regions grow; 1: in space only, each frame by itself."""
    cell: Annotated[int, Field(ge=1)] = 2
    """Side in pixels of a cell, which has one label; 1 is finer and costs four times as much as 2."""
    smooth: Annotated[int, Field(ge=1, le=15)] = 5
    """Side in pixels of the median filter before growing, odd; 1: no filter."""
    feature: Compared | None = None
    """join features: edges, corners, hog or color, by name or with options."""
    least_motion: NotNegative = 0.5
    """join motion: minimum speed in pixels per frame, relative to the rest of the frame."""
    min_area: Annotated[float, Field(ge=0.0005, le=1)] = 0.002
    """Minimum area of a region, as a share of the frame, in the frame where it is largest."""
    max_area: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Maximum area, measured the same way: larger regions are background."""
    overlap: Annotated[float, Field(ge=0.05, le=1)] = 0.3
    """Minimum intersection over union, across the border of two windows, of regions that are linked in time. Not part
    of the product's key: a new value recomputes no labels."""

    @property
    def time_stride(self) -> int:
        """The window: spans are aligned to windows, not to rows."""
        return self.window

    @property
    def stride_key(self) -> str:
        """`window` sets the stride."""
        return "window"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.join == "features") != (self.feature is not None):
            given = "none" if self.feature is None else f"{self.feature.kind} with join {self.join}"
            raise ValueError(f"feature: got {given}, expected one with `join: features`, and none otherwise")
        if self.join != "motion" and "least_motion" in self.model_fields_set:
            raise ValueError(f"least_motion: got one with join {self.join}, expected none: it belongs to join motion")
        if self.smooth % 2 == 0:
            raise ValueError(f"smooth: got {self.smooth}, expected an odd number of pixels")
        if self.max_area <= self.min_area:
            raise ValueError(f"max_area: got {self.max_area}, expected more than min_area = {self.min_area}")
        return self
