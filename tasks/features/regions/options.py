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
    """What touching cells have in common, at most `tolerance` apart. color: their mean RGB; motion: their optical flow
    (cells slower than `least_motion` are in no region); features: their vectors of `feature`."""
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Root mean square over channels. color: grey levels (6); motion: pixels per frame (1); features: the channels'
    standard deviations over the window (0.5)."""
    seeds: Literal["auto"] | Annotated[tuple[tuple[NotNegative, NotNegative], ...], Field(min_length=1)] = "auto"
    """auto: every cell is one, so regions are all that hangs together; or (y, x) places in frame-grid pixels, from
    which a region grows in each window, starting in its first frame, as far as cells are like the seed itself."""
    window: Annotated[int, Field(ge=1, le=32)] = 8
    """Frames of one spacetime block in which regions grow; 1: in space alone, each frame by itself."""
    cell: Annotated[int, Field(ge=1)] = 2
    """Pixels along y and x that share one label; 1 is finer and costs four times as much."""
    smooth: Annotated[int, Field(ge=1, le=15)] = 5
    """Side in pixels of the median filter before growing, odd; 1: none."""
    feature: Compared | None = None
    """join features: edges, corners, hog, color, or one with its options."""
    least_motion: NotNegative = 0.5
    """join motion: pixels per frame, against the rest of the frame."""
    min_area: Annotated[float, Field(ge=0.0005, le=1)] = 0.002
    """Share of the frame that a region covers in the frame where it is largest."""
    max_area: Annotated[float, Field(gt=0, le=1)] = 0.4
    """The same: what is larger is background."""
    overlap: Annotated[float, Field(ge=0.05, le=1)] = 0.3
    """Least intersection over union, across the border of two windows, of regions that are linked in time. Not part of
    the product's key: another value grows nothing anew."""

    @property
    def time_stride(self) -> int:
        """Windows, not rows, decide how spans lie."""
        return self.window

    @property
    def stride_key(self) -> str:
        """It is `window` that says so."""
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
