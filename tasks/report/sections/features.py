"""Features: a picture of each feature's values."""

from __future__ import annotations

from typing import Any

from patchlake.tasks.canvas import Picture
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.report.maps import feature_map
from patchlake.tasks.report.outlines import region_strips
from patchlake.tasks.report.sample import open_feature
from patchlake.tasks.report.sections.section import Section, View
from patchlake.tasks.report.sounds import sound_picture


def sections(view: View) -> list[Section]:
    """Return the section."""
    entries = view.dataset.recipe.features
    pictures, missing = list[Picture](), []
    for entry in entries:
        drawn = _pictures(view, entry)
        pictures += drawn
        if not drawn:
            missing.append(entry.name)
    sentence = "" if entries else "The recipe names no features."
    if missing:
        sentence = f"No row of {', '.join(missing)} in these clips: shorter than a patch, or none stored."
    return [Section(title="Features", pictures=pictures, sentence=sentence)]


def _pictures(view: View, entry: Any) -> list[Picture]:
    """Return the pictures of an entry of the recipe's features."""
    dataset = view.dataset
    if (feature := open_feature(dataset.lake, entry.name)) is None:
        return []
    size = dataset.recipe.frames.size
    if isinstance(entry, RegionsSpec):
        return region_strips(feature, entry, dataset.tables, view.frames, size)
    if entry.kind == "audio":
        found = sound_picture(feature, view.clips)
    else:
        found = feature_map(feature, view.clips, view.frames, size)
    return [] if found is None else [found]
