"""The recipe: a YAML file, parsed once into frozen values; errors name the key, before anything runs."""

from patchlake.tasks.recipe.model import Recipe
from patchlake.tasks.recipe.reading import load, parse, with_feature
from patchlake.tasks.recipe.sections import Boxes, Frames, Limits, Patches, Units

__all__ = ["Boxes", "Frames", "Limits", "Patches", "Recipe", "Units", "load", "parse", "with_feature"]
