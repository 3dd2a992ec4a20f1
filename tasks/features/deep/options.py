"""Options of `hf` and `hf_clip`. Nothing heavy is imported here, so that recipes are parsed without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from patchlake.tasks.features.extractor import FeatureOptions
from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import Strict, base_of

_Positive = Annotated[int, Field(ge=1)]
_Positive3 = tuple[_Positive, _Positive, _Positive]
_NO_GRID = Grid((1, 1, 1), (1, 1, 1))


class CropGrid(Strict):
    """The grid whose patches are put through a network one by one."""

    size: _Positive3 | None = None
    """time, y, x in rows and pixels; by default the recipe's patches."""
    stride: _Positive3 | None = None
    """By default the size, so that patches touch."""

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
"""Relative to the recipe if such a file or folder exists or the path starts with `.`, `/` or `~`; else a hub name."""


class DeepOptions(FeatureOptions):
    """Options that all pretrained networks share."""

    path: ModelPath
    """A local folder (config.json and safetensors), a torch.export file (.pt2), a model trained by patchlake (the
    folder with model.json and model.pt), or a hub name."""
    crops: Annotated[CropGrid | None, BeforeValidator(lambda v: {} if v == "patches" else v)] = None
    """patches, or {size: [t, y, x], stride: [t, y, x]}: every patch of this grid is cropped, resized and put through
    the network, one vector each."""
    input: tuple[_Positive, _Positive] | None = None
    """height, width of the network's input in pixels; by default its own, or the frames' if it takes any size."""
    mean: tuple[float, float, float] | None = None
    """Mean of RGB in [0, 1]; by default the model's own, else ImageNet's."""
    std: tuple[float, float, float] | None = None
    dtype: Literal["float16", "float32"] = "float16"
    """Stored type."""
    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of matrix products and convolutions; the 16-bit ones by autocast."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: Annotated[int, Field(ge=0), BeforeValidator(lambda v: 0 if v == "auto" else v)] = 0
    """Inputs at once. auto (0): found by doubling. Halved in any case if memory runs out."""
    compile: bool = False
    """Whether to run torch.compile: faster, but costs minutes at first, so only for long jobs."""
    every: _Positive = 1
    pool: str | None = None

    @property
    def pooling(self) -> str:
        """The value of `pool`, or its default."""
        return self.pool or ("clip" if self.crops else "none")

    @property
    def time_stride(self) -> int:
        """`every`, or the stride of the crops' grid. Spans are aligned to windows, not to a clip network's rows."""
        if self.crops is not None:
            return self.crops.grid(_NO_GRID).stride[0] if self.crops.size else 0
        return self.every

    @model_validator(mode="after")
    def _crops_are_vectors(self) -> Self:
        if self.crops is not None and self.pooling not in ("clip", "tokens"):
            raise ValueError(f"pool: got {self.pooling} with crops, expected clip or tokens: a patch is one vector")
        return self


class HfSpec(DeepOptions):
    """Tokens of a pretrained image network, frame by frame."""

    kind: Literal["hf"]
    every: _Positive = 1
    """Frames from row to row; with crops, between the frames of a patch that the network sees."""
    pool: Literal["none", "tokens", "clip"] | None = None
    """none: each token is a cell; tokens: their mean over the frame; clip: the network's own vector of the whole input
    (pooler, else class token, else the mean). Default: none; with crops: clip."""


class HfClipSpec(DeepOptions):
    """Tokens of a pretrained clip network, window by window."""

    kind: Literal["hf_clip"]
    every: _Positive = 16
    """Frames from window to window. Where time is kept (pool none, tokens) windows touch: frames times step."""
    frames: _Positive | None = None
    """Frames that the network sees at once; by default the model's own."""
    step: _Positive | None = None
    """Distance between these frames; by default 1, or the value that a model of this project was trained with."""
    pool: Literal["none", "time", "tokens", "clip"] | None = None
    """none: each token is a cell, each tubelet a row; tokens: the mean of each tubelet's tokens; time: each token's
    mean over the window, one row per window; clip: the network's own vector of the window (pooler, else class token,
    else the mean). Default: none; with crops: clip."""

    @model_validator(mode="after")
    def _crops_decide(self) -> Self:
        for key in ("every", "step"):
            if self.crops is not None and key in self.model_fields_set:
                raise ValueError(f"{key}: got one with crops, expected none: the grid's patches decide")
        return self
