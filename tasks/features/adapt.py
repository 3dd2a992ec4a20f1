"""Extractors of users: wraps an object that is called with frames as an `Extractor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import Cells, Extractor, FrameExtractor
from patchlake.tasks.types import FrameArray

PARTS = (
    "version", "channels", "dtype", "time_size", "time_stride", "context_frames", "centres", "needs_gpu",
    "digest_parts", "attrs",
)  # fmt: skip
"""Required attributes of an extractor; documented in `features.Extractor`."""


def as_extractor(made: Any, source: str) -> Extractor:
    """Return an object as an extractor: itself if it is an `Extractor`, else a wrapper that calls it with frames.

    Raises RecipeError if an attribute is missing or impossible; `source` says where the object comes from.
    """
    _check(made, source)
    extractor: Extractor = made if _has_compute(made) else CalledWithFrames(made)
    return extractor


class CalledWithFrames(FrameExtractor):
    """Wraps an object that is called with one piece's frames, or has `gather` for those of several pieces."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.version, self.dtype, self.channels = made.version, made.dtype, made.channels
        self.time_size, self.time_stride = made.time_size, made.time_stride
        self.context_frames, self.centres = made.context_frames, made.centres
        self.needs_gpu, self.wants_gpu = made.needs_gpu, bool(getattr(made, "wants_gpu", False))
        self.window_rows = int(getattr(made, "window_rows", 1))
        self.digest_parts, self.attrs = made.digest_parts, made.attrs
        self.together = hasattr(made, "gather")

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return the object's result for the frames of one piece."""
        found: npt.NDArray[Any] = self.made(frames)
        return found

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return the object's result for each piece, from one call if it has `gather`."""
        if not self.together:
            return super().compute(pieces)
        found: list[npt.NDArray[Any]] = self.made.gather([piece.frames for piece in pieces])
        return found


def _has_compute(made: Any) -> bool:
    """Return whether it is an Extractor with a `compute` of its own; in other classes `compute` may mean anything."""
    kind = type(made)
    return Extractor in kind.__mro__ and kind.compute is not Extractor.compute


def _check(made: Any, source: str) -> None:
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing or not (callable(made) or _has_compute(made)):
        raise RecipeError(
            f"features: {source} lacks {', '.join(missing) or '__call__'}; expected what "
            "patchlake.tasks.features.Extractor has"
        )
    if made.dtype not in ("float16", "float32", "uint16"):
        raise RecipeError(f"features: {source}.dtype: got {made.dtype!r}, expected float16, float32 or uint16")
    if not isinstance(made.version, int) or made.time_stride < 1 or made.time_size < 1:
        raise RecipeError(
            f"features: {source}: got version {made.version!r}, time_size {made.time_size!r}, time_stride "
            f"{made.time_stride!r}, expected integers, the latter two at least 1"
        )
