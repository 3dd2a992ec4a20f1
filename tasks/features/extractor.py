"""What an extractor is, and what its recipe entry has. Nothing heavy is imported here."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from patchlake.tasks.strict import Name, Strict
from patchlake.tasks.types import FloatArray, FrameArray

if TYPE_CHECKING:
    from patchlake.tasks.video.audio import Sound


FRAMES = "frames"
SOUND = "sound"
"""FRAMES and SOUND: what an extractor may read."""


def _no_sound() -> Sound:
    raise TypeError(f"expected an extractor whose `reads` is {SOUND!r}: only these are given sound")


@dataclass(frozen=True, slots=True)
class Cells:
    """A piece of a span as given to an extractor: all input of the piece's rows."""

    frames: FrameArray
    """(before + (rows - 1) time_stride + time_size + after, height, width, 3) RGB; empty if the extractor `reads`
    something else."""
    first_seconds: FloatArray = field(default_factory=lambda: np.empty(0))
    """(rows,) time of each row's first frame, in seconds from the video's first displayed frame."""
    last_seconds: FloatArray = field(default_factory=lambda: np.empty(0))
    """(rows,) time of each row's last frame."""
    open_sound: Callable[[], Sound] = _no_sound
    """Return the sound of the piece's video, for extractors that read it; opening another piece's sound closes it."""


@runtime_checkable
class Extractor(Protocol):
    """Pieces in, one row of features per time cell out. A row depends only on its own frames and context.

    Subclass `FrameExtractor` to take one piece's frames at a time. A user's class needs no base: `custom` wraps any
    callable that takes frames and has these attributes (those with a default may be left out).
    """

    version: int
    """Increased whenever the same frames give different bytes than before; part of every product key."""
    channels: tuple[str, ...]
    dtype: Literal["float16", "float32", "uint16"]
    """uint16: labels, i.e. numbers without an order; 0: no label."""
    time_size: int
    """Frames of one row's window."""
    time_stride: int
    """Frames from row to row; it divides the dataset's grid_align."""
    context_frames: tuple[int, int]
    """Frames needed before the first and after the last window; past a span's ends its end frame is repeated."""
    centres: tuple[tuple[float, ...], tuple[float, ...]]
    """y and x of the cells' centres in frame-grid pixels."""
    needs_gpu: bool
    digest_parts: dict[str, Any]
    """Everything besides the frames and `version` that determines the output's bytes: options, the model's digest."""
    attrs: dict[str, Any]
    """Attributes of the stored array: units, pooling, source of the method, model."""
    window_rows: int = 1
    """Rows computed from one window.

    If several (a clip network's tubelets), they touch, and each needs every frame of the window. `time_size` and
    `time_stride` are then those of a row; windows start every window_rows * time_stride frames, which divides the
    dataset's grid_align; and an incomplete window has no rows.
    """
    wants_gpu: bool = False
    """Whether it uses a GPU if the cluster has one."""
    reads: str = FRAMES
    """What its rows are computed from: FRAMES or SOUND."""
    together: bool = False
    """Whether it takes all pieces of a slot in one call, so that its batches are full."""

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return (rows, y, x, channel) for each piece."""
        ...


class FrameExtractor(Extractor):
    """Base class of extractors that take the frames of one piece at a time: they implement `__call__`."""

    @abstractmethod
    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return (rows, y, x, channel) for (before + (rows - 1) stride + size + after, height, width, 3) frames."""

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return the result of `__call__` for each piece's frames."""
        return [self(piece.frames) for piece in pieces]


def wants_gpu(extractor: Extractor) -> bool:
    """Return whether it uses a GPU if there is one, because it needs or wants one."""
    return extractor.needs_gpu or extractor.wants_gpu


def window_frames(extractor: Extractor) -> tuple[int, int]:
    """Return the frames of one window, without context, and the frames from one window to the next."""
    rows = extractor.window_rows
    return (rows - 1) * extractor.time_stride + extractor.time_size, rows * extractor.time_stride


def reach_of(extractor: Extractor) -> tuple[int, int]:
    """Return how many frames an extractor may need before a piece's first frame and after its last one."""
    before, after = extractor.context_frames
    size, stride = window_frames(extractor)
    return before, after + size - min(stride, size)


class FeatureOptions(Strict):
    """Base class of all entries of a recipe's `features`."""

    name: Name = ""
    """Name of the product; by default the last part of `path`, else the kind."""
    kind: str
    labels: ClassVar[bool] = False
    """Whether its values are labels (numbers without an order), which are never averaged or compared."""

    @property
    def time_stride(self) -> int:
        """Frames from row to row if the entry sets it, 0 if the patch grid does."""
        return 0

    @property
    def stride_key(self) -> str:
        """The entry's key that sets `time_stride`."""
        return "every"

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("name"):
            path = str(data.get("path", "")).rstrip("/")
            return {**data, "name": os.path.basename(path).rpartition(":")[2] or data.get("kind")}
        return data
