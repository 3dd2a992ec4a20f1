"""A user's own filter, named in a recipe as `module:Class`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.filters.filter import Filter, FilterOptions
from patchlake.tasks.strict import ClassPath, RecipeFolder, load_class


class CustomFilterSpec(FilterOptions):
    """A filter class of the user."""

    kind: Literal["custom"]
    path: ClassPath
    """module:Class; the module is importable, or a file in the recipe's folder."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    folder: RecipeFolder = ""


def custom(spec: CustomFilterSpec, frame_size: tuple[int, int]) -> Filter:
    """Return the user's filter, built as `Class(frame_size=(height, width), **options)`.

    The class path and options become part of the key, in addition to its `version` and `digest_parts`.
    """
    made: Any = load_class(spec.path, spec.folder, where="frames.filters")(frame_size=frame_size, **spec.options)
    missing = [part for part in ("version", "context_frames", "digest_parts") if not hasattr(made, part)]
    if missing or not callable(made):
        raise RecipeError(
            f"frames.filters: {spec.path} lacks {', '.join(missing) or '__call__'}; expected what "
            "patchlake.tasks.filters.Filter has"
        )
    context = made.context_frames
    if not isinstance(made.version, int) or len(context) != 2 or min(context) < 0:
        raise RecipeError(
            f"frames.filters: {spec.path}: got version {made.version!r}, context_frames {context!r}, expected an "
            "integer, and frames before and after"
        )
    made.digest_parts = {"path": spec.path, "options": spec.options, **made.digest_parts}
    one: Filter = made
    return one
