"""Deferred units read what other units store, so they are handed out as that is committed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from patchlake.cluster.run_items import NOT_YET, NotYet
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import is_ready
from patchlake.tasks.types import Unit
from patchlake.tasks.unit.commit import Committer


class DeferredUnits:
    """Hands out deferred units, each as soon as the pixels that it reads are committed."""

    def __init__(self, dataset: Dataset, committer: Committer) -> None:
        self._dataset = dataset
        self._committer = committer
        self._over = threading.Event()

    def end(self) -> None:
        """Nothing more will be committed: units that are not ready now lack pixels, and are left to another run."""
        self._committer.flush()
        self._over.set()

    def ready(self, units: Sequence[Unit]) -> Iterator[Unit | NotYet]:
        """Yield the units, the first that is ready first; in between NOT_YET."""
        left = list(units)
        while left:
            is_over = self._over.is_set()  # asked first: what was committed last is seen below
            unit = next((unit for unit in left if is_ready(self._dataset, unit)), None)
            if unit is not None:
                left.remove(unit)
                yield unit
            elif is_over:
                return
            else:
                self._committer.flush_old()
                yield NOT_YET
