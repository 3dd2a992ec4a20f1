"""Extractors: one file each. A recipe entry is parsed here into its extractor's own options, and built from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from patchlake.tasks.features.spec import (
    ColorSpec,
    CornersSpec,
    EdgesSpec,
    Extractor,
    FlowSpec,
    HfClipSpec,
    HfSpec,
    HogSpec,
    MotionSpec,
    ShotScoreSpec,
)
from patchlake.tasks.grid import Grid

Entry = Annotated[
    EdgesSpec | CornersSpec | HogSpec | ColorSpec | FlowSpec | MotionSpec | ShotScoreSpec | HfSpec | HfClipSpec,
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
    "shot_score": ShotScoreSpec,
    "hf": HfSpec,
    "hf_clip": HfClipSpec,
}

__all__ = ["MODELS", "Entry", "Extractor", "build", "spell_out"]


def spell_out(entry: object, *, base: Path | None = None) -> object:
    """Return a recipe's short entry as a mapping: `edges` is kind and name, `hf:PATH` names a model.

    A model path that exists below `base` (the recipe's folder) becomes absolute; else it is a hub name.
    """
    if isinstance(entry, str):
        kind, colon, model = entry.partition(":")
        entry = {"kind": kind, "path": model} if colon else {"kind": kind}
    if base is not None and isinstance(entry, dict) and isinstance(path := entry.get("path"), str):
        local = os.path.normpath(base / Path(path).expanduser())
        if os.path.exists(local) or path.startswith((".", "/", "~")):
            entry = {**entry, "path": local}
    return entry


def build(entry: Any, *, patches: Grid, frame_size: tuple[int, int]) -> Extractor:
    """Return the extractor of a recipe entry for frames of (height, width); models load at the first call."""
    if isinstance(entry, EdgesSpec):
        from patchlake.tasks.features.edges import Edges

        return Edges(entry, patches, frame_size)
    if isinstance(entry, CornersSpec):
        from patchlake.tasks.features.corners import Corners

        return Corners(entry, patches, frame_size)
    if isinstance(entry, HogSpec):
        from patchlake.tasks.features.hog import Hog

        return Hog(entry, patches, frame_size)
    if isinstance(entry, ColorSpec):
        from patchlake.tasks.features.color import Color

        return Color(entry, patches, frame_size)
    if isinstance(entry, MotionSpec):
        from patchlake.tasks.features.motion import Motion

        return Motion(entry, patches, frame_size)
    if isinstance(entry, FlowSpec):
        from patchlake.tasks.features.flow import Flow

        return Flow(entry, patches, frame_size)
    if isinstance(entry, ShotScoreSpec):
        from patchlake.tasks.features.shot_score import ShotScore

        return ShotScore(entry, frame_size)
    if isinstance(entry, HfSpec):
        from patchlake.tasks.features.hf import HuggingFace

        return HuggingFace(entry, patches, frame_size)
    if isinstance(entry, HfClipSpec):
        from patchlake.tasks.features.hf_clip import HuggingFaceClip

        return HuggingFaceClip(entry, patches, frame_size)
    raise TypeError(f"expected an entry of a recipe's features, got {entry!r}")
