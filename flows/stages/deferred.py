"""What units ask of workers; and the units apart, which read on GPU workers what others have stored."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from patchlake.cluster.connect import Cluster
from patchlake.cluster.run_items import NOT_YET, NotYet
from patchlake.cluster.spec import GPU, Resources
from patchlake.flows.session import Session
from patchlake.tasks.features.extractor import SOUND, Extractor
from patchlake.tasks.lake.product import Product
from patchlake.tasks.plan.ledger import SlotSet
from patchlake.tasks.plan.units import slots_read
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import PIXELS, Unit
from patchlake.tasks.unit import preflight
from patchlake.tasks.unit.commit import Committer


def gpu_products(products: Iterable[Product], cluster: Cluster) -> frozenset[str]:
    """Return the names of those that are computed on GPUs: what needs one, and what wants one where there is any."""
    wanting = [product for product in products if product.needs_gpu or product.wants_gpu]
    if all(product.needs_gpu for product in wanting) or cluster.num_gpu_workers:
        return frozenset(product.name for product in wanting)
    return frozenset(product.name for product in wanting if product.needs_gpu)


def products_apart(
    recipe: Recipe, products: Iterable[Product], extractors: dict[str, Extractor], cluster: Cluster
) -> frozenset[str]:
    """Return the names of the products that units of their own compute from stored pixels, as `units.fused` says.

    Never what reads sound: it is not in pixels. Such a product keeps all that takes a GPU in the units that decode.
    """
    names = gpu_products(products, cluster)
    if not names or not recipe.frames.keep or recipe.units.fused is True:
        return frozenset()
    if any(extractors[name].reads == SOUND for name in names):
        return frozenset()
    return names if recipe.units.fused is False or cluster.num_gpu_workers < cluster.size else frozenset()


def needs_of(session: Session, units: Sequence[Unit]) -> Resources | None:
    """Return what a worker must offer to do any of these units: a GPU, and as much memory as the largest takes."""
    names = dict.fromkeys(name for unit in units for name in unit.products)
    products = [session.products[name] for name in names]
    gpu = GPU if gpu_products(products, session.cluster) else {}
    most = max((preflight.unit_bytes(session.recipe, session.products, unit.products) for unit in units), default=0)
    return {**session.cluster.memory(most), **gpu} or None


class Turns:
    """Hands out units apart, each as soon as the pixels that it reads are committed."""

    def __init__(self, session: Session, committer: Committer) -> None:
        self._session = session
        self._committer = committer
        self._over = threading.Event()

    def end(self) -> None:
        """Say that nothing more will be committed: what is not ready now has lost pixels, and waits for another run."""
        self._committer.flush()
        self._over.set()

    def of(self, units: Sequence[Unit]) -> Iterator[Unit | NotYet]:
        """Yield the units, the first that is ready first; in between NOT_YET."""
        left = list(units)
        while left:
            is_over = self._over.is_set()  # asked first: what was committed last is seen below
            ready = next((unit for unit in left if self._is_ready(unit)), None)
            if ready is not None:
                left.remove(ready)
                yield ready
            elif is_over:
                return
            else:
                self._committer.flush_old()
                yield NOT_YET

    def _is_ready(self, unit: Unit) -> bool:
        done = self._session.ledger.done.get(PIXELS, SlotSet())
        return all(slot in done for slot in slots_read(unit, self._session.recipe.layout))
