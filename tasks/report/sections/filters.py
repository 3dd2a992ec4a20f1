"""Frame filters: before and after."""

from __future__ import annotations

from patchlake.tasks.report.filtered import filter_pictures
from patchlake.tasks.report.sections.section import Section, View


def sections(view: View) -> list[Section]:
    """Return the section, if the recipe has filters."""
    dataset = view.dataset
    if not dataset.recipe.frames.filters:
        return []
    pictures, missing = filter_pictures(dataset.tables, dataset.recipe, view.clips)
    return [Section(title="Frame filters", pictures=pictures, sentence=missing)]
