"""Options of `hf` and `hf_clip`. Nothing heavy is imported here: a recipe is parsed without torch."""

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


class DeepOptions(FeatureOptions):
    """What pretrained networks have in common."""

    path: ModelPath
    """A local folder (config.json and safetensors), a torch.export file (.pt2), a model that patchlake trained (the
    folder with model.json and model.pt), or a hub name."""
    crops: Annotated[CropGrid | None, BeforeValidator(lambda v: {} if v == "patches" else v)] = None
    """patches, or {size: [t, y, x], stride: [t, y, x]}: every patch of this grid is cropped, resized and put through
    the network, one vector each."""
    input: tuple[_Positive, _Positive] | None = None
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
    every: _Positive = 1
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


class HfSpec(DeepOptions):
    """Tokens of a pretrained image network, frame by frame."""

    kind: Literal["hf"]
    every: _Positive = 1
    """Frames from row to row; with crops, from one frame of a patch that the network sees to the next."""
    pool: Literal["none", "tokens", "clip"] | None = None
    """none: each token is a cell; tokens: their mean over the frame; clip: the network's own vector of the whole input
    (pooler, else class token, else the mean). By default none, with crops clip."""


class HfClipSpec(DeepOptions):
    """Tokens of a pretrained clip network, window by window."""

    kind: Literal["hf_clip"]
    every: _Positive = 16
    """Frames from window to window. Where time is kept (pool none, tokens) windows touch: frames times step."""
    frames: _Positive | None = None
    """Frames that the network sees at once; by default the model's own."""
    step: _Positive | None = None
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
