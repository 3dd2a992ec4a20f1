"""A user's own extractor, named in a recipe as `module:Class`."""

from __future__ import annotations

from typing import Any

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import CustomSpec, Extractor
from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import load_class

PARTS = (
    "version", "channels", "dtype", "time_size", "time_stride", "context_frames", "centres", "needs_gpu",
    "digest_parts", "attrs",
)  # fmt: skip
"""What an extractor has besides being callable; `spec.Extractor` says what each means."""


def custom(spec: CustomSpec, patches: Grid, frame_size: tuple[int, int]) -> Extractor:
    """Return the user's extractor, made as `Class(patches=Grid, frame_size=(height, width), **options)`.

    The class' path and its options become part of the product's key, beside its own `version` and `digest_parts`.
    """
    made = load_class(spec.path, spec.folder, where="features")(patches=patches, frame_size=frame_size, **spec.options)
    _check(made, spec)
    made.digest_parts = {"path": spec.path, "options": spec.options, **made.digest_parts}
    extractor: Extractor = made
    return extractor


def _check(made: Any, spec: CustomSpec) -> None:
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing or not isinstance(made, Extractor):
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
