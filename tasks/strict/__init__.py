"""Building blocks of recipes: strict values (`base`); families of kinds, each with options and builder (`family`)."""

from patchlake.tasks.strict.base import (
    ClassPath,
    LocalPath,
    Name,
    RecipeFolder,
    Strict,
    base_of,
    expected_one_of,
    resolved,
    sentences,
)
from patchlake.tasks.strict.family import Family, Kind, load_class

__all__ = [
    "ClassPath",
    "Family",
    "Kind",
    "LocalPath",
    "Name",
    "RecipeFolder",
    "Strict",
    "base_of",
    "expected_one_of",
    "load_class",
    "resolved",
    "sentences",
]
