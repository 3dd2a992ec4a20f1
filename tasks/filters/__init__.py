"""Frame filters: one file each. What they make of the frames is what the lake holds, and what products see."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from patchlake.tasks.filters.filter import BlurSpec, CustomFilterSpec, DenoiseSpec, Filter, Scene, StabiliseSpec

Entry = Annotated[DenoiseSpec | StabiliseSpec | BlurSpec | CustomFilterSpec, Field(discriminator="kind")]
"""One entry of a recipe's `frames.filters`."""

MODELS: dict[str, type[BaseModel]] = {
    "denoise": DenoiseSpec,
    "stabilise": StabiliseSpec,
    "blur": BlurSpec,
    "custom": CustomFilterSpec,
}
"""Kind -> its options."""
CLASSES = {
    "denoise": "denoise:Denoise", "stabilise": "stabilise:Stabilise", "blur": "blur:Blur", "custom": "custom:custom",
}  # fmt: skip
"""Kind -> module of this package, and what makes its filter."""

__all__ = ["MODELS", "Entry", "Filter", "Scene", "build", "build_all", "keys_of", "spell_out"]


def spell_out(entry: object, *, base: Path | None = None) -> object:
    """Return a recipe's short entry as a mapping: `denoise`, or `module:Class`, the user's own.

    Paths become absolute by `base`, the recipe's folder.
    """
    if isinstance(entry, str):
        entry = {"kind": "custom", "path": entry} if ":" in entry else {"kind": entry}
    if base is None or not isinstance(entry, dict):
        return entry
    if entry.get("kind") == "custom":
        return {**entry, "folder": str(base)}
    files = {key: entry[key] for key in ("model", "boxes") if isinstance(entry.get(key), str)}
    local = {key: os.path.normpath(base / Path(at).expanduser()) for key, at in files.items() if "://" not in at}
    return {**entry, **local}


def build(entry: Any, frame_size: tuple[int, int]) -> Filter:
    """Return the filter of a recipe entry for frames of (height, width)."""
    module, _, name = CLASSES[entry.kind].partition(":")
    made: Filter = getattr(importlib.import_module(f"patchlake.tasks.filters.{module}"), name)(entry, frame_size)
    return made


def build_all(entries: Iterable[Any], frame_size: tuple[int, int]) -> list[Filter]:
    """Return the filters of a recipe, in order."""
    return [build(entry, frame_size) for entry in entries]


def keys_of(entries: Iterable[Any], frame_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return what of each filter goes into the keys of stored frames; files that it names are read."""
    built = [(entry.kind, build(entry, frame_size)) for entry in entries]
    return [{"kind": kind, "version": one.version, "options": one.digest_parts} for kind, one in built]


def context_of(filters: Iterable[Filter]) -> tuple[int, int]:
    """Return the frames that a chain of filters wants before and after each frame."""
    around = [one.context_frames for one in filters]
    return sum(before for before, _ in around), sum(after for _, after in around)
