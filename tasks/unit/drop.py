"""Dropping: removes a product, or forgets failed spans, so that the next plan recomputes them."""

from __future__ import annotations

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake import arrays, create
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.types import PIXELS


def drop_product(dataset: Dataset, name: str) -> None:
    """Remove a product: first its receipts, so that none names rows that no longer exist, then its arrays."""
    tables = dataset.tables
    tables.receipts.overwrite([row for row in tables.receipts.rows() if row["product"] != name])
    dataset.ledger.done.pop(name, None)
    tables.regions.overwrite(row for row in tables.regions.rows() if row["product"] != name)
    create.drop_product(dataset.lake, name)


def drop_feature(dataset: Dataset, name: str) -> None:
    """Remove a feature of the lake by name. Raises RecipeError if the lake has no such feature."""
    lake = dataset.lake
    if name == PIXELS or arrays.product_attrs(lake, name) is None:
        held = ", ".join(n for n in arrays.product_names(lake) if n != PIXELS) or "none"
        raise RecipeError(f"--drop {name}: expected a feature that {lake} holds, one of: {held}")
    drop_product(dataset, name)


def drop_stale(dataset: Dataset) -> None:
    """Drop products whose options, model or code changed: they are recomputed from stored pixels."""
    if PIXELS in dataset.ledger.stale:
        raise RecipeError(
            f"frames: {dataset.lake} holds pixels that this version would decode differently; "
            "give the recipe another `name:` to store them again"
        )
    for name in sorted(dataset.ledger.stale):
        drop_product(dataset, name)


def forget_failed(dataset: Dataset, *, retry_failed: bool) -> None:
    """Replan failed spans (timeout, memory, crash) if a feature changed or `retry_failed` is given."""
    if retry_failed or dataset.ledger.stale:
        dataset.ledger.forget_failed(dataset.tables)
