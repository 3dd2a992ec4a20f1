"""Extractors: one file each, with its options. To add one: one file, and a line in `FEATURES`."""

from __future__ import annotations

from typing import Annotated, Any

from patchlake.tasks.features.adapt import as_extractor
from patchlake.tasks.features.extractor import Cells, Extractor, FeatureOptions, FrameExtractor
from patchlake.tasks.grid import Grid
from patchlake.tasks.strict import Family

FEATURES = Family(
    "features",
    {
        "edges": (".edges:EdgesSpec", ".edges:Edges"),
        "corners": (".corners:CornersSpec", ".corners:Corners"),
        "hog": (".hog:HogSpec", ".hog:Hog"),
        "color": (".color:ColorSpec", ".color:Color"),
        "flow": (".flow:FlowSpec", ".flow:Flow"),
        "motion": (".motion:MotionSpec", ".motion:Motion"),
        "regions": (".regions.options:RegionsSpec", ".regions.labels:Regions"),
        "shot_score": (".shot_score:ShotScoreSpec", ".shot_score:ShotScore"),
        "hf": (".deep.options:HfSpec", ".deep.hf:HuggingFace"),
        "hf_clip": (".deep.options:HfClipSpec", ".deep.hf_clip:HuggingFaceClip"),
        "audio": (".audio:AudioSpec", ".audio:Audio"),
        "custom": (".custom:CustomSpec", ".custom:custom"),
    },
    options=FeatureOptions,
    package=__name__,
)
"""Kind -> its options and what builds its extractor; imported only if a recipe names the kind, since some are heavy."""

Entry = Annotated[FeatureOptions, FEATURES]
"""One entry of a recipe's `features`."""

__all__ = ["FEATURES", "Cells", "Entry", "Extractor", "FeatureOptions", "FrameExtractor", "build"]


def build(entry: Any, *, patches: Grid, frame_size: tuple[int, int]) -> Extractor:
    """Return the extractor of a recipe entry for frames of (height, width); models load at the first call."""
    return as_extractor(FEATURES.build(entry, patches=patches, frame_size=frame_size), entry.kind)
