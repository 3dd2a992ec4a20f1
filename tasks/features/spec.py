"""What an extractor is, and the recipe entries of those that ship. Nothing heavy is imported here."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from patchlake.tasks.types import FrameArray


@runtime_checkable
class Extractor(Protocol):
    """Frames in, one row of features per time cell out. Rows depend on their own frames and context alone."""

    version: int
    """Raised when the same frames give other bytes than before; it is part of every product key."""
    channels: tuple[str, ...]
    dtype: Literal["float16", "float32"]
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

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return (rows, y, x, channel) for (before + (rows - 1) stride + size + after, height, width, 3) frames."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = ""

    @property
    def time_stride(self) -> int:
        """Frames from row to row, where the entry and not the patch grid decides; else 0."""
        return 0

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("name"):
            path = str(data.get("path", "")).rstrip("/")
            return {**data, "name": os.path.basename(path) or data.get("kind")}
        return data


class EdgesSpec(_Entry):
    """Gradient magnitude and Canny edges."""

    kind: Literal["edges"]
    canny: tuple[float, float] = (100.0, 200.0)
    """Canny's lower and upper threshold, on its own gradient scale (cv2.Canny, L1, 3x3 Sobel)."""


class FlowSpec(_Entry):
    """Dense optical flow and its histogram."""

    kind: Literal["flow"]
    preset: Literal["ultrafast", "fast", "medium"] = "fast"
    """Of cv2.DISOpticalFlow: from quick and coarse to slow and fine."""


class ShotScoreSpec(_Entry):
    """Frame differences of PySceneDetect's detectors, which `shots` are cut from; one row a frame."""

    kind: Literal["shot_score"]

    @property
    def time_stride(self) -> int:
        """One row a frame."""
        return 1


class HfSpec(_Entry):
    """Token grid of a pretrained transformers vision backbone, whole frames."""

    kind: Literal["hf"]
    path: Annotated[str, Field(min_length=1)]
    """A local folder (config.json and safetensors), or a hub name."""
    every: Annotated[int, Field(ge=1)] = 1
    """Frames from row to row."""
    dtype: Literal["float16", "float32"] = "float16"
    """Of the stored tokens; the network computes in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: Annotated[int, Field(ge=1)] = 16

    @property
    def time_stride(self) -> int:
        """As `every` says."""
        return self.every
