"""A recipe on its lake: the value that survey, plan, record, settle and drop take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from patchlake.tasks.features.extractor import Extractor
from patchlake.tasks.grid import Layout
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.products import extractors_of, products_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A recipe, the lake it describes, and what that lake already holds."""

    recipe: Recipe
    lake: Location
    tables: Tables
    extractors: Mapping[str, Extractor]
    products: Mapping[str, Product]
    """The products to bring up to date, by name, pixels first."""
    ledger: Ledger
    """Read from the tables when this value was created; commits keep it up to date."""

    @classmethod
    def open(cls, recipe: Recipe, guard: Callable[[], None] | None = None) -> Dataset:
        """Return the recipe on its lake in its current state. Nothing is written, and the lake need not exist yet.

        `guard` is called before each commit to a table and raises if this process may no longer write. Raises
        RecipeError for products that can't be made (a missing model, a time stride that does not fit).
        """
        extractors = extractors_of(recipe)
        products = products_of(recipe, extractors)
        lake = lake_of(recipe)
        tables = Tables(lake, guard)
        ledger = Ledger.read(tables, products, recipe.layout)
        return cls(recipe=recipe, lake=lake, tables=tables, extractors=extractors, products=products, ledger=ledger)

    @property
    def frames_key(self) -> dict[str, Any]:
        """What determines the bytes of stored frames; it is part of every product's key and every span's key."""
        key: dict[str, Any] = next(iter(self.products.values())).key["frames"]
        return key

    @property
    def layout(self) -> Layout:
        """The row model's constants."""
        return self.recipe.layout

    def reread(self) -> Dataset:
        """Return the dataset with its ledger reread from the tables; spans lost in this run stay recorded."""
        ledger = Ledger.read(self.tables, self.products, self.layout)
        ledger.lost |= self.ledger.lost
        return replace(self, ledger=ledger)

    def narrowed(self, names: Iterable[str]) -> Dataset:
        """Return the dataset with only pixels and the named products to bring up to date."""
        return replace(self, products={name: self.products[name] for name in (PIXELS, *names)})


def lake_of(recipe: Recipe) -> Location:
    """Return the location of the recipe's lake: LAKE/NAME."""
    return Location(recipe.lake) / recipe.name
