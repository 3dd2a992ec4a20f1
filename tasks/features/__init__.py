"""Extractors: one file each. A recipe entry is parsed here into its extractor's own options, and built from them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from patchlake.tasks.features.extractor import (
    AudioSpec,
    ColorSpec,
    CornersSpec,
    CustomSpec,
    EdgesSpec,
    Extractor,
    FlowSpec,
    HfClipSpec,
    HfSpec,
    HogSpec,
    MotionSpec,
    RegionsSpec,
    ShotScoreSpec,
)
from patchlake.tasks.grid import Grid

Entry = Annotated[
    EdgesSpec
    | CornersSpec
    | HogSpec
    | ColorSpec
    | FlowSpec
    | MotionSpec
    | RegionsSpec
    | ShotScoreSpec
    | HfSpec
    | HfClipSpec
    | AudioSpec
    | CustomSpec,
    Field(discriminator="kind"),
]
"""One entry of a recipe's `features`."""

MODELS: dict[str, type[BaseModel]] = {
    "edges": EdgesSpec,
    "corners": CornersSpec,
    "hog": HogSpec,
    "color": ColorSpec,
    "flow": FlowSpec,
    "motion": MotionSpec,
    "regions": RegionsSpec,
    "shot_score": ShotScoreSpec,
    "audio": AudioSpec,
    "hf": HfSpec,
    "hf_clip": HfClipSpec,
    "custom": CustomSpec,
}
"""Kind -> its options."""
CLASSES = {
    "edges": "edges:Edges", "corners": "corners:Corners", "hog": "hog:Hog", "color": "color:Color", "flow": "flow:Flow",
    "motion": "motion:Motion", "regions": "regions.labels:Regions", "shot_score": "shot_score:ShotScore",
    "audio": "audio:Audio",
    "hf": "deep.hf:HuggingFace", "hf_clip": "deep.hf_clip:HuggingFaceClip", "custom": "custom:custom",
}  # fmt: skip
"""Kind -> module of this package, and what makes its extractor; imported when first built, since some are heavy."""

__all__ = ["MODELS", "Entry", "Extractor", "build", "spell_out"]


def spell_out(entry: object, *, base: Path | None = None) -> object:
    """Return a recipe's short entry as a mapping: `edges` is kind and name, `hf:PATH` names a model.

    A model path that exists below `base` (the recipe's folder) becomes absolute; else it is a hub name. Another word
    before the colon is a module: `module:Class` is the user's own.
    """
    if isinstance(entry, str):
        kind, colon, model = entry.partition(":")
        if colon and kind not in MODELS:
            entry = {"kind": "custom", "path": entry}
        else:
            entry = {"kind": kind, "path": model} if colon else {"kind": kind}
    if isinstance(entry, dict) and entry.get("kind") == "custom":
        return entry if base is None else {**entry, "folder": str(base)}
    if base is not None and isinstance(entry, dict) and isinstance(path := entry.get("path"), str):
        local = os.path.normpath(base / Path(path).expanduser())
        if os.path.exists(local) or path.startswith((".", "/", "~")):
            entry = {**entry, "path": local}
    return entry


def build(entry: Any, *, patches: Grid, frame_size: tuple[int, int]) -> Extractor:
    """Return the extractor of a recipe entry for frames of (height, width); models load at the first call."""
    if not any(isinstance(entry, kind) for kind in MODELS.values()):
        raise TypeError(f"expected an entry of a recipe's features, got {entry!r}")
    module, _, name = CLASSES[entry.kind].partition(":")
    made: Extractor = getattr(importlib.import_module(f"patchlake.tasks.features.{module}"), name)(
        entry, patches, frame_size
    )
    return made
