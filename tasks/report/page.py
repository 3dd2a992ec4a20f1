"""The report page: its sections in reading order, rendered as one HTML file."""

from __future__ import annotations

from importlib import resources

import jinja2

from patchlake.tasks import canvas
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.report import facts
from patchlake.tasks.report.facts import Run
from patchlake.tasks.report.sections import features, filters, patches, reductions, training
from patchlake.tasks.report.sections.section import SectionsOf, View
from patchlake.tasks.report.time_chart import time_chart

SECTIONS: tuple[SectionsOf, ...] = (
    filters.sections, patches.sections, features.sections, reductions.sections, training.sections,
)  # fmt: skip


def render(dataset: Dataset, run: Run, *, key: str) -> str:
    """Return the report of a run on a dataset as one HTML page that loads nothing from outside.

    `key` is written into the page and identifies its inputs (`keep.page_key`).
    """
    rows, count = facts.bad_sources(dataset.tables)
    view = View(dataset=dataset, run=run)
    with canvas.style():
        time = None if run.figures.ingest is None else time_chart(run.figures.ingest)
        sections = [section for sections_of in SECTIONS for section in sections_of(view)]
    source = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        key=key, name=dataset.recipe.name, lake=dataset.lake.url, run=run, figures=run.figures.rows(),
        time=time, bad_sources=rows, bad_count=count, sections=sections, opening=facts.opening(dataset.lake),
    )  # fmt: skip
