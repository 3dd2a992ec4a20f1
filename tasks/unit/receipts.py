"""Collects what a unit wrote, and the time it took, into one receipt per product."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from patchlake.tasks import pts
from patchlake.tasks.lake.product import Product
from patchlake.tasks.types import IntArray, PieceReceipt, Receipt, Unit

DECODE, COMPUTE, WRITE = "decode", "compute", "write"


class UnitReceipts:
    """Collects the receipts of a unit's products."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._pieces: dict[str, list[PieceReceipt]] = {name: [] for name in unit.products}
        self.num_bytes = dict.fromkeys(unit.products, 0)
        """Bytes of the shards on disk, by product."""
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Time spent, by (DECODE | COMPUTE | WRITE, product); product is "" for decoding, which all products share."""

    @contextmanager
    def timed(self, what: str, product: str = "", clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
        """Add the time of the block."""
        started = clock()
        try:
            yield
        finally:
            self.seconds[what, product] += clock() - started

    def add(
        self, product: str, span_key: str, *, slot: int, row_start: int, values: npt.NDArray[Any], ticks: IntArray
    ) -> None:
        """Record the rows (n, y, x, channel) of a piece, as stored in the product's array, and their centre times.

        `row_start` counts on the product's time axis.
        """
        checksum = xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data) if len(values) else 0
        self._pieces[product].append(
            PieceReceipt(
                span_key=span_key,
                slot=slot,
                row_start=row_start,
                num_rows=len(values),
                checksum=checksum,
                ticks=pts.pack(ticks),
            )
        )

    def receipts(
        self, products: Mapping[str, Product], *, filter_wall_seconds: float, filter_cpu_seconds: float
    ) -> tuple[Receipt, ...]:
        """Return a receipt per product.

        The first receipt includes the decode time (without filters, which run while frames are waited for) and the
        filters' CPU time.
        """
        first = self._unit.products[0]
        return tuple(
            Receipt(
                unit_id=self._unit.unit_id,
                product=name,
                product_digest=products[name].digest,
                slots=self._unit.slots,
                pieces=tuple(sorted(self._pieces[name], key=lambda piece: (piece.slot, piece.row_start))),
                num_bytes=self.num_bytes[name],
                seconds={
                    "decode": self.seconds[DECODE, ""] - filter_wall_seconds if name == first else 0.0,
                    "compute": self.seconds[COMPUTE, name] + (filter_cpu_seconds if name == first else 0.0),
                    "write": self.seconds[WRITE, name],
                },
            )
            for name in self._unit.products
        )
