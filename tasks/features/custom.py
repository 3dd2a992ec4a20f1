"""A user's own extractor, named in a recipe as `module:Class`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from patchlake.tasks.features.adapt import as_extractor
from patchlake.tasks.features.extractor import Extractor, FeatureOptions
from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import ClassPath, RecipeFolder, load_class


class CustomSpec(FeatureOptions):
    """An extractor class of the user."""

    kind: Literal["custom"]
    path: ClassPath
    """module:Class; the module is importable, or a file in the recipe's folder."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    every: Annotated[int, Field(ge=0)] = 0
    """Frames from row to row, if not the patch grid's stride: the time_stride of the class."""
    folder: RecipeFolder = ""

    @property
    def time_stride(self) -> int:
        """The value of `every`."""
        return self.every


def custom(spec: CustomSpec, patches: Grid, frame_size: tuple[int, int]) -> Extractor:
    """Return the user's extractor, built as `Class(patches=Grid, frame_size=(height, width), **options)`.

    The class path and options become part of the product's key, in addition to its `version` and `digest_parts`.
    """
    made = load_class(spec.path, spec.folder, where="features")(patches=patches, frame_size=frame_size, **spec.options)
    extractor = as_extractor(made, spec.path)
    extractor.digest_parts = {"path": spec.path, "options": spec.options, **extractor.digest_parts}
    return extractor
