"""Patches: film strips of stored frames with the patch grid."""

from __future__ import annotations

from patchlake.tasks.report.sections.section import Section, View
from patchlake.tasks.report.strips import film_strips


def sections(view: View) -> list[Section]:
    """Return the section."""
    recipe, frames = view.dataset.recipe, view.frames
    pictures = film_strips(frames, view.clips, recipe.patches.grid) if frames is not None else []
    sentence = "" if pictures else "No clip is in the lake."
    if not recipe.frames.keep:
        sentence = "The recipe keeps no frames (frames.keep: false)."
    return [Section(title="Patches", pictures=pictures, sentence=sentence)]
