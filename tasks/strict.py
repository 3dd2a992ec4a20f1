"""What every section of a recipe shares: frozen, and unknown keys are errors."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from pydantic import BaseModel, ConfigDict

from patchlake.tasks.errors import RecipeError


class Strict(BaseModel):
    """A part of a recipe: frozen once parsed; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_class(path: str, folder: str, *, where: str) -> Any:
    """Return the class that `module:Class` names; the module is importable or lies in `folder`, the recipe's."""
    module, _, name = path.partition(":")
    if folder and folder not in sys.path:  # workers, too, find a module that lies beside the recipe
        sys.path.append(folder)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        known = "an importable module, or one in the recipe's folder"
        raise RecipeError(f"{where}: got {path!r}, expected a class in {known}: {error}") from error
