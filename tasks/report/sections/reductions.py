"""Reductions: one section per heading; each reduction draws its own picture."""

from __future__ import annotations

from patchlake.tasks.report.reduced import reduction_pictures
from patchlake.tasks.report.sections.section import Section, View


def sections(view: View) -> list[Section]:
    """Return a section for each heading among the recipe's reductions."""
    dataset = view.dataset
    if not dataset.recipe.reduce:
        return [Section(title="Principal components", sentence="The recipe asks for no reduction.")]
    found = []
    for heading, pictures in reduction_pictures(dataset.lake, dataset.tables, dataset.recipe).items():
        missing = ", ".join(name for name, picture in pictures.items() if picture is None)
        sentence = f"Nothing to show of {missing}: no cell is stored, or all cells are equal." if missing else ""
        found.append(Section(title=heading, pictures=[p for p in pictures.values() if p], sentence=sentence))
    return found
