"""What an extractor is, and the recipe entries of those that ship. Nothing heavy is imported here."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import ClassPath, Name, RecipeFolder, Strict, base_of
from patchlake.tasks.types import FloatArray, FrameArray

if TYPE_CHECKING:
    from patchlake.tasks.video.audio import Sound

_Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive3 = tuple[_Positive, _Positive, _Positive]


FRAMES = "frames"
SOUND = "sound"
"""What an extractor may read."""


def _no_sound() -> Sound:
    raise TypeError(f"expected an extractor whose `reads` is {SOUND!r}: only these are given sound")


@dataclass(frozen=True, slots=True)
class Cells:
    """What a piece of a span gives an extractor: all that its rows are made of."""

    frames: FrameArray
    """(before + (rows - 1) time_stride + time_size + after, height, width, 3) RGB; none where the extractor `reads`
    something else."""
    first_seconds: FloatArray = field(default_factory=lambda: np.empty(0))
    """(rows,) when the first frame of each row is shown, from the video's first displayed frame."""
    last_seconds: FloatArray = field(default_factory=lambda: np.empty(0))
    """(rows,) when its last frame is shown."""
    open_sound: Callable[[], Sound] = _no_sound
    """Return the sound of the piece's video, for extractors that read it; opening that of another piece ends it."""


@runtime_checkable
class Extractor(Protocol):
    """Pieces in, one row of features per time cell out. Rows depend on their own frames and context alone.

    Whoever takes one piece's frames at a time subclasses `FrameExtractor`. Users' own classes need neither: `custom`
    makes an extractor of what has these attributes (those with a default may be left out) and is called with frames.
    """

    version: int
    """Raised when the same frames give other bytes than before; it is part of every product key."""
    channels: tuple[str, ...]
    dtype: Literal["float16", "float32", "uint16"]
    """uint16: labels, numbers without an order; 0 is none."""
    time_size: int
    """Frames of one row's window."""
    time_stride: int
    """Frames from row to row; it divides the dataset's grid_align."""
    context_frames: tuple[int, int]
    """Frames wanted before the first and after the last window; past a span's ends the end frame is repeated."""
    centres: tuple[tuple[float, ...], tuple[float, ...]]
    """y and x of the cells' centres in frame-grid pixels."""
    needs_gpu: bool
    digest_parts: dict[str, Any]
    """All that decides the output's bytes besides the frames and `version`: options and the model's digest."""
    attrs: dict[str, Any]
    """What the array says of itself: units, pooling, source of the method, model."""
    window_rows: int = 1
    """Rows that come from one window.

    If several (a clip network's tubelets), they touch, and each needs every frame of the window. `time_size` and
    `time_stride` are then those of a row, windows start every window_rows * time_stride frames, which divides the
    dataset's grid_align, and an incomplete window has no rows.
    """
    wants_gpu: bool = False
    """Whether it takes a GPU where the cluster has one."""
    reads: str = FRAMES
    """What its rows are made of: FRAMES or SOUND."""
    together: bool = False
    """Whether it takes all pieces of a slot in one call, so that its batches are full."""

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return (rows, y, x, channel) for each piece."""
        ...


class FrameExtractor(Extractor):
    """Base of extractors that take the frames of one piece at a time: they write `__call__`."""

    @abstractmethod
    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return (rows, y, x, channel) for (before + (rows - 1) stride + size + after, height, width, 3) frames."""

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return what a call with its frames gives for each piece."""
        return [self(piece.frames) for piece in pieces]


def wants_gpu(extractor: Extractor) -> bool:
    """Return whether it takes a GPU where there is one, because it needs or wants one."""
    return extractor.needs_gpu or extractor.wants_gpu


def window_frames(extractor: Extractor) -> tuple[int, int]:
    """Return the frames of one window, its context left out, and those from one window to the next."""
    rows = extractor.window_rows
    return (rows - 1) * extractor.time_stride + extractor.time_size, rows * extractor.time_stride


def reach_of(extractor: Extractor) -> tuple[int, int]:
    """Return the frames that an extractor may want before a piece's first frame and after its last one."""
    before, after = extractor.context_frames
    size, stride = window_frames(extractor)
    return before, after + size - min(stride, size)


class FeatureOptions(Strict):
    """What every entry of a recipe's `features` has."""

    name: Name = ""
    """Of the product; by default the path's last part, else the kind."""
    kind: str

    @property
    def time_stride(self) -> int:
        """Frames from row to row, where the entry and not the patch grid decides; else 0."""
        return 0

    @property
    def stride_key(self) -> str:
        """The key of the entry that says so."""
        return "every"

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("name"):
            path = str(data.get("path", "")).rstrip("/")
            return {**data, "name": os.path.basename(path).rpartition(":")[2] or data.get("kind")}
        return data


class EdgesSpec(FeatureOptions):
    """Gradient magnitude and Canny edges."""

    kind: Literal["edges"]
    canny: tuple[float, float] = (100.0, 200.0)
    """Canny's lower and upper threshold, on its own gradient scale (cv2.Canny, L1, 3x3 Sobel)."""


class CornersSpec(FeatureOptions):
    """Harris and Shi-Tomasi responses, and how many corners there are."""

    kind: Literal["corners"]
    k: Annotated[float, Field(gt=0, lt=0.25)] = 0.04
    """Harris' weight of the squared trace."""
    least: Annotated[float, Field(gt=0)] = 100.0
    """Shi-Tomasi response of a corner, (grey level / pixel)^2: at least so much, and the most of its 3x3 pixels."""


class HogSpec(FeatureOptions):
    """Histograms of oriented gradients."""

    kind: Literal["hog"]
    cells: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (2, 2)
    """y, x: a patch is one block of so many cells."""
    orientations: Annotated[int, Field(ge=2, le=180)] = 9


class ColorSpec(FeatureOptions):
    """Colour statistics and histograms."""

    kind: Literal["color"]
    bins: Annotated[int, Field(ge=2, le=32)] = 8
    """Of the histograms of hue and of luma."""
    colorless: Annotated[int, Field(ge=1, le=255)] = 32
    """Saturation (0..255) below which a pixel has no hue."""


class MotionSpec(FeatureOptions):
    """Energy of frame differences."""

    kind: Literal["motion"]
    least: Annotated[int, Field(ge=1, le=255)] = 16
    """Grey levels by which a pixel that counts as changed differs."""


class FlowSpec(FeatureOptions):
    """Dense optical flow and its histogram."""

    kind: Literal["flow"]
    preset: Literal["ultrafast", "fast", "medium"] = "fast"
    """Of cv2.DISOpticalFlow: from quick and coarse to slow and fine."""


class ShotScoreSpec(FeatureOptions):
    """Frame differences of PySceneDetect's detectors, which `shots` are cut from; one row a frame."""

    kind: Literal["shot_score"]

    @property
    def time_stride(self) -> int:
        """One row a frame."""
        return 1


def _kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Compared = Annotated[
    Annotated[EdgesSpec | CornersSpec | HogSpec | ColorSpec, Field(discriminator="kind")], BeforeValidator(_kind)
]
"""A feature whose vectors are compared cell by cell."""


class RegionsSpec(FeatureOptions):
    """Regions grown in space and spacetime, as labels."""

    kind: Literal["regions"]
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
    cell: _Positive = 2
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


class AudioSpec(FeatureOptions):
    """Log-mel power of the sound."""

    kind: Literal["audio"]
    mels: Annotated[int, Field(ge=1, le=256)] = 64
    window_seconds: Annotated[float, Field(ge=0.005, le=1)] = 0.025
    hop_seconds: Annotated[float, Field(ge=0.001, le=1)] = 0.01
    low: Annotated[float, Field(ge=0)] = 20.0
    """Hz."""
    high: Annotated[float, Field(gt=0)] = 8000.0
    """Hz; bands beyond half a file's sample rate are silent there."""
    every: Annotated[int, Field(ge=0)] = 0
    """Frames of a row, and from row to row; by default those of the patch grid."""

    @property
    def time_stride(self) -> int:
        """As `every` says."""
        return self.every

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"got low: {self.low:g} and high: {self.high:g}, expected low < high, in Hz")
        return self


class CustomSpec(FeatureOptions):
    """A class of the user's own."""

    kind: Literal["custom"]
    path: ClassPath
    """module:Class; the module is importable, or lies in the recipe's folder."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    every: Annotated[int, Field(ge=0)] = 0
    """Frames from row to row, where that is not the patch grid's stride: the class' time_stride."""
    folder: RecipeFolder = ""

    @property
    def time_stride(self) -> int:
        """As `every` says."""
        return self.every


_NO_GRID = Grid((1, 1, 1), (1, 1, 1))


class CropGrid(Strict):
    """The grid whose patches are put through a network one by one."""

    size: Positive3 | None = None
    """time, y, x in rows and pixels; by default the recipe's patches."""
    stride: Positive3 | None = None
    """By default the size: patches touch."""

    @model_validator(mode="after")
    def _stride_of_a_size(self) -> CropGrid:
        if self.stride and not self.size:
            raise ValueError("stride: got one without a size, expected both, or neither: the recipe's patches")
        return self

    def grid(self, patches: Grid) -> Grid:
        """Return the grid; `patches` are the recipe's."""
        return Grid(size=self.size, stride=self.stride or self.size) if self.size else patches


def _local_model(path: str, info: ValidationInfo) -> str:
    base = base_of(info)
    local = path if base is None else os.path.normpath(base / Path(path).expanduser())
    return local if os.path.exists(local) or path.startswith((".", "/", "~")) else path


ModelPath = Annotated[str, Field(min_length=1), AfterValidator(_local_model)]
"""Relative to the recipe, where such a file or folder exists or the path is spelled as one; else a hub name."""


class _DeepEntry(FeatureOptions):
    """What pretrained networks have in common."""

    path: ModelPath
    """A local folder (config.json and safetensors), a torch.export file (.pt2), a model that patchlake trained (the
    folder with model.json and model.pt), or a hub name."""
    crops: Annotated[CropGrid | None, BeforeValidator(lambda v: {} if v == "patches" else v)] = None
    """patches, or {size: [t, y, x], stride: [t, y, x]}: every patch of this grid is cropped, resized and put through
    the network, one vector each."""
    input: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """height, width in pixels that the network sees; by default its own, or the frames' where it takes any."""
    mean: tuple[float, float, float] | None = None
    """Of RGB in [0, 1]; by default the model's own, else ImageNet's."""
    std: tuple[float, float, float] | None = None
    dtype: Literal["float16", "float32"] = "float16"
    """Of what is stored."""
    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of matrix products and convolutions; the lower ones by autocast."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: Annotated[int, Field(ge=0), BeforeValidator(lambda v: 0 if v == "auto" else v)] = 0
    """Inputs at once. auto (0): found by doubling; always halved where memory runs out."""
    compile: bool = False
    """Whether torch.compile makes the network faster: worth its minutes on long jobs."""
    every: Annotated[int, Field(ge=1)] = 1
    pool: str | None = None

    @property
    def pooling(self) -> str:
        """As `pool` says, or by default."""
        return self.pool or ("clip" if self.crops else "none")

    @property
    def time_stride(self) -> int:
        """As `every` says, with crops as their grid does: windows, not a clip network's rows, decide how spans lie."""
        if self.crops is not None:
            return self.crops.grid(_NO_GRID).stride[0] if self.crops.size else 0
        return self.every

    @model_validator(mode="after")
    def _crops_are_vectors(self) -> Self:
        if self.crops is not None and self.pooling not in ("clip", "tokens"):
            raise ValueError(f"pool: got {self.pooling} with crops, expected clip or tokens: a patch is one vector")
        return self


class HfSpec(_DeepEntry):
    """Tokens of a pretrained image network, frame by frame."""

    kind: Literal["hf"]
    every: Annotated[int, Field(ge=1)] = 1
    """Frames from row to row; with crops, from one frame of a patch that the network sees to the next."""
    pool: Literal["none", "tokens", "clip"] | None = None
    """none: each token is a cell; tokens: their mean over the frame; clip: the network's own vector of the whole input
    (pooler, else class token, else the mean). By default none, with crops clip."""


class HfClipSpec(_DeepEntry):
    """Tokens of a pretrained clip network, window by window."""

    kind: Literal["hf_clip"]
    every: Annotated[int, Field(ge=1)] = 16
    """Frames from window to window. Where time is kept (pool none, tokens) windows touch: frames times step."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Frames that the network sees at once; by default the model's own."""
    step: Annotated[int, Field(ge=1)] | None = None
    """Frames from one of these to the next; by default 1, or what a model of this project was trained with."""
    pool: Literal["none", "time", "tokens", "clip"] | None = None
    """none: each token is a cell, each tubelet a row; tokens: the mean of each tubelet's tokens; time: each token's
    mean over the window, a row each; clip: the network's own vector of the window (pooler, else class token, else
    the mean). By default none, with crops clip."""

    @model_validator(mode="after")
    def _crops_decide(self) -> Self:
        for key in ("every", "step"):
            if self.crops is not None and key in self.model_fields_set:
                raise ValueError(f"{key}: got one with crops, expected none: the grid's patches decide")
        return self
