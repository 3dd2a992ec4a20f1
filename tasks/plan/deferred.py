"""Deferred products: computed by units of their own on GPU workers, from pixels that other units have stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from patchlake.tasks.features.extractor import SOUND
from patchlake.tasks.lake.product import Product
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.ledger import SlotSet
from patchlake.tasks.plan.units import slots_read
from patchlake.tasks.types import PIXELS, Unit


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers that a plan is made for."""

    total: int
    with_gpu: int = 0
    """How many of `total` have a GPU."""


def gpu_products(products: Iterable[Product], workers: Workers) -> frozenset[str]:
    """Return the names of products computed on GPUs: those that need one, and those that use one if there is any."""
    taking = [product for product in products if product.needs_gpu or product.wants_gpu]
    return frozenset(product.name for product in taking if product.needs_gpu or workers.with_gpu)


def deferred_products(dataset: Dataset, workers: Workers) -> frozenset[str]:
    """Return the names of the products that get units of their own, according to the recipe's `units.fused`.

    Sound is not in stored pixels: if any GPU product reads sound, all GPU products stay in the decoding units.
    """
    recipe = dataset.recipe
    names = gpu_products(dataset.products.values(), workers)
    if not names or not recipe.frames.keep or recipe.units.fused is True:
        return frozenset()
    if any(dataset.extractors[name].reads == SOUND for name in names):
        return frozenset()
    return names if recipe.units.fused is False or workers.with_gpu < workers.total else frozenset()


def is_ready(dataset: Dataset, unit: Unit) -> bool:
    """Return whether all pixels that a deferred unit reads have been committed."""
    done = dataset.ledger.done.get(PIXELS, SlotSet())
    return all(slot in done for slot in slots_read(unit, dataset.layout))
