"""A user's own extractor, named in a recipe as `module:Class`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy.typing as npt
from pydantic import Field

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import Cells, Extractor, FeatureOptions, FrameExtractor
from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import ClassPath, RecipeFolder, load_class
from patchlake.tasks.types import FrameArray

PARTS = (
    "version", "channels", "dtype", "time_size", "time_stride", "context_frames", "centres", "needs_gpu",
    "digest_parts", "attrs",
)  # fmt: skip
"""What an extractor has to have; `features.Extractor` says what each means."""


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


def custom(spec: CustomSpec, patches: Grid, frame_size: tuple[int, int]) -> Extractor:
    """Return the user's extractor, made as `Class(patches=Grid, frame_size=(height, width), **options)`.

    The class' path and its options become part of the product's key, beside its own `version` and `digest_parts`.
    """
    made = load_class(spec.path, spec.folder, where="features")(patches=patches, frame_size=frame_size, **spec.options)
    _check(made, spec)
    extractor: Extractor = made if has_compute(made) else CalledWithFrames(made)
    extractor.digest_parts = {"path": spec.path, "options": spec.options, **made.digest_parts}
    return extractor


def has_compute(made: Any) -> bool:
    """Return whether it computes pieces as the engine asks for: its class says so by its base."""
    kind = type(made)
    return Extractor in kind.__mro__ and kind.compute is not Extractor.compute


class CalledWithFrames(FrameExtractor):
    """A user's object that is called with frames, or gathers several pieces' frames at once, as an extractor."""

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
        """Return the object's answer to the frames of one piece."""
        found: npt.NDArray[Any] = self.made(frames)
        return found

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return the object's answer to each piece, from one call if it gathers."""
        if not self.together:
            return super().compute(pieces)
        found: list[npt.NDArray[Any]] = self.made.gather([piece.frames for piece in pieces])
        return found


def _check(made: Any, spec: CustomSpec) -> None:
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing or not (callable(made) or has_compute(made)):
        raise RecipeError(
            f"features: {spec.path} lacks {', '.join(missing) or '__call__'}; expected what "
            "patchlake.tasks.features.Extractor has"
        )
    if made.dtype not in ("float16", "float32", "uint16"):
        raise RecipeError(f"features: {spec.path}.dtype: got {made.dtype!r}, expected float16, float32 or uint16")
    if not isinstance(made.version, int) or made.time_stride < 1 or made.time_size < 1:
        raise RecipeError(
            f"features: {spec.path}: got version {made.version!r}, time_size {made.time_size!r}, time_stride "
            f"{made.time_stride!r}, expected integers, the latter two at least 1"
        )
