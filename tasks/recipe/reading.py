"""From a YAML file or a mapping to a recipe; errors name the key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.recipe.model import Recipe
from patchlake.tasks.strict import sentences


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with `a.b=VALUE` overrides (VALUE is YAML); paths become absolute.

    Raises RecipeError with the key, what was given and what was expected.
    """
    file = Path(path)
    try:
        data = yaml.safe_load(file.read_text())
    except OSError as error:
        raise RecipeError(f"recipe {path}: can't be read: {error.strerror}; give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {path}: got {type(data).__name__}, expected a mapping with name, lake and corpus")
    for override in overrides:
        _override(data, override)
    return parse(data, base=file.resolve().parent, where=f"recipe {path}")


def parse(data: Mapping[str, Any], *, base: Path, where: str = "recipe") -> Recipe:
    """Return the recipe from a mapping; relative paths in it are relative to `base`."""
    try:
        given = {key: value for key, value in data.items() if key != "lake" or value is not None}  # `--set lake=`
        return Recipe.model_validate(given, context={"base": base})
    except ValidationError as error:
        raise RecipeError(f"{where}: " + sentences(error)) from None


def with_feature(recipe: Recipe, text: str, path: str | os.PathLike[str]) -> Recipe:
    """Return a recipe with one more feature, written as in a recipe: a name, or a mapping in YAML.

    `path` is the recipe's path: relative paths are relative to it.
    """
    try:
        entry = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--add {text}: is not YAML: {error}") from error
    data = {**dict(recipe), "features": [*recipe.features, entry]}
    try:
        return Recipe.model_validate(data, context={"base": Path(path).resolve().parent})
    except ValidationError as error:
        raise RecipeError(f"--add {text}: " + sentences(error)) from None


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override}: expected KEY=VALUE, e.g. --set frames.size=[64,64]")
    *parents, last = key.split(".")
    for parent in parents:
        child = data.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override}: {parent} is {child!r}, expected a mapping to set a key of")
        data = child
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not YAML: {error}") from error
    if key == "cluster" and isinstance(parsed, str) and isinstance(old := data.get("cluster"), dict):
        parsed = old if old.get("kind", "local") == parsed else {"kind": parsed}  # another kind has different keys
    data[last] = parsed
