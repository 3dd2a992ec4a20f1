"""Training: results of the model and of its controls."""

from __future__ import annotations

from patchlake.tasks import objectives
from patchlake.tasks.report.sections.section import Section, View


def sections(view: View) -> list[Section]:
    """Return the section."""
    train, options = view.run.figures.train, view.dataset.recipe.train
    if train is None or options is None:
        sentence = "The recipe asks for no training." if options is None else "Nothing was trained."
        return [Section(title="Training", sentence=sentence)]
    if "skipped" in train:
        return [Section(title="Training", sentence=f"Training was skipped. {train['skipped']}")]
    return [Section(title="Training", pictures=objectives.build(options).pictures(train))]
