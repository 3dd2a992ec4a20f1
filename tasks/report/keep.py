"""The report page in the lake: when it is redrawn, and where it is kept."""

from __future__ import annotations

from patchlake.tasks.keys import digest
from patchlake.tasks.lake.layout import REPORT_PAGE
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.report.facts import Run
from patchlake.tasks.storage.location import Location

_NO_EFFECT = {"cluster", "schedule", "lake", "corpus"}
"""Parts of a recipe that affect the page only through the tables."""


def page_key(dataset: Dataset, run: Run) -> str:
    """Return a hash of a page's inputs: table versions, recipe, training. The page contains it."""
    tables = dataset.tables
    deltas = [table.delta for table in (tables.sources, tables.clips, tables.receipts)]
    versions = [None if delta is None else delta.version() for delta in deltas]
    wanted = dataset.recipe.model_dump(mode="json", exclude=_NO_EFFECT)
    train = run.figures.train or {}
    return digest("report", run.version, versions, wanted, train.get("key"), train.get("skipped"))


def key_of_new_page(dataset: Dataset, run: Run) -> str | None:
    """Return the key of the page to draw; None if the lake has this page and the run made nothing new."""
    key, known = page_key(dataset, run), dataset.lake.get(REPORT_PAGE)
    is_known = known is not None and key.encode() in known
    return None if is_known and not run.figures.worked else key


def keep_page(lake: Location, page: str) -> None:
    """Write a page to the lake."""
    lake.put(REPORT_PAGE, page.encode())
