"""From a recipe's file to the recipe, its `cluster` checked by the kind it names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from pydantic import ValidationError

from patchlake.cluster.kinds import registry
from patchlake.cluster.spec import ClusterSpec
from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.strict import sentences

KINDS = "patchlake.clusters"
"""Entry point group of the kinds of clusters that other packages bring."""


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with `a.b=VALUE` overrides; its local paths, the cluster's too, are absolute.

    Raises RecipeError with the key, what was given and what was expected.
    """
    recipe = recipes.load(path, overrides)
    checked = cluster_spec(recipe, base=Path(path).resolve().parent).model_dump(exclude_unset=True)
    return recipe.model_copy(update={"cluster": {key: checked[key] for key in recipe.cluster}})


def cluster_spec(recipe: Recipe, *, base: Path | None = None) -> ClusterSpec:
    """Return the recipe's `cluster`, checked; its local paths are relative to `base`, if that is given.

    A kind that is not ours may be an entry point, which is imported only if the recipe names it.
    """
    if recipe.cluster.get("kind", "local") not in registry.KINDS:
        for point in entry_points(group=KINDS):
            registry.register(point.name, point.value)
    try:
        return registry.parse(recipe.cluster, base=base)
    except ValidationError as error:
        raise RecipeError("recipe: " + sentences(error, prefix=("cluster",))) from None
