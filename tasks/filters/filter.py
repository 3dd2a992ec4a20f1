"""What a frame filter is, and the recipe entries of those that ship. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import Field, model_validator

from patchlake.tasks import tracks
from patchlake.tasks.strict import ClassPath, LocalPath, RecipeFolder, Strict
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


class DenoiseSpec(FilterOptions):
    """Less noise."""

    kind: Literal["denoise"]
    strength: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Standard deviation of the noise in grey levels; more than there is takes detail away."""
    frames: Annotated[int, Field(ge=0, le=8)] = 2
    """Frames before and after that are averaged where they look alike."""


class StabiliseSpec(FilterOptions):
    """A camera held still."""

    kind: Literal["stabilise"]
    frames: Annotated[int, Field(ge=1, le=32)] = 15
    """Frames before and after over which the camera's path is smoothed."""
    reach: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """The most that a frame is moved, as a share of its shorter side."""
    border: Literal["replicate", "reflect", "black"] = "replicate"
    """What is seen where the moved frame does not reach."""


class BlurSpec(FilterOptions):
    """Faces and given boxes made unrecognisable."""

    kind: Literal["blur"]
    faces: Literal["lbp", "yunet"] | None = None
    """lbp: scikit-image's cascade of local binary patterns (frontal, upright faces); yunet: cv2.FaceDetectorYN."""
    model: LocalPath | None = None
    """The ONNX file of yunet; none is shipped or fetched."""
    boxes: LocalPath | None = None
    """CSV, JSON or Parquet as for `tracks` (`annotations.read_boxes`): what is in them is blurred too."""
    how: Literal["gaussian", "pixels"] = "gaussian"
    strength: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Gaussian's sigma, or the pixels' side, as a share of the region's longer side."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.25
    """By which a found face is widened on each side, as a share of its own."""
    hold: Annotated[int, Field(ge=0, le=32)] = 5
    """Frames before and after in which a found face stays covered, so that a frame where it is missed shows nothing."""
    least: Annotated[int, Field(ge=8)] = 24
    """Side of the smallest face that is looked for, frame-grid pixels."""
    score: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """The least that yunet is sure of a face."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.faces is None and self.boxes is None:
            raise ValueError("got neither faces nor boxes, expected one at least, as {kind: blur, faces: lbp}")
        if (self.faces == "yunet") != (self.model is not None):
            raise ValueError(
                f"got faces: {self.faces} with model: {self.model}; expected `model: FILE.onnx` with `faces: yunet` "
                "(face_detection_yunet of the OpenCV model zoo), and with nothing else"
            )
        return self


class CustomFilterSpec(FilterOptions):
    """A class of the user's own."""

    kind: Literal["custom"]
    path: ClassPath
    """module:Class; the module is importable, or lies in the recipe's folder."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    folder: RecipeFolder = ""
