"""Features that `patchlake features --add` names, put into the recipe."""

from __future__ import annotations

from patchlake.tasks import features
from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import SOUND
from patchlake.tasks.recipe import Recipe


def with_features(recipe: Recipe, path: str, add: tuple[str, ...]) -> tuple[Recipe, list[str]]:
    """Return the recipe with the features to add in it, and their names."""
    known, names = {entry.name for entry in recipe.features}, []
    for text in add:
        if text in known:
            names.append(text)
            continue
        more = recipes.with_feature(recipe, text, path)
        names.append(more.features[-1].name)
        recipe = more
    return recipe, names


def refuse_sound(recipe: Recipe, names: list[str]) -> None:
    """Refuse features to add that are not made of pixels."""
    for entry in recipe.features:
        if entry.name not in names:
            continue
        one = features.build(entry, patches=recipe.patches.grid, frame_size=recipe.frames.size)
        if one.reads == SOUND:
            raise RecipeError(
                f"--add {entry.name}: sound is not in stored pixels; name it in the recipe's features, and "
                "`patchlake run` computes it from the videos"
            )
