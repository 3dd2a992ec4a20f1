"""Product: describes one array family of the lake; a value shared by plan, worker and lake."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchlake.tasks import keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """One array family: its grid, channels, type and chunks."""

    name: str
    array: str
    """Name of the array in the product's group: frames for pixels, else features."""
    key: dict[str, Any]
    """Everything besides the span that determines its bytes: entry, grid, model, VERSION, frame grid."""
    time_size: int
    time_stride: int
    y: tuple[float, ...]
    """Centres in frame-grid pixels."""
    x: tuple[float, ...]
    channels: tuple[str, ...]
    dtype: str
    rows_per_slot: int
    chunk: tuple[int, int, int]
    """time, y, x; every chunk holds all channels."""
    needs_gpu: bool
    """Whether its extractor runs only on a GPU."""
    attrs: dict[str, Any]
    wants_gpu: bool = False
    """Whether its extractor uses a GPU if the cluster has one."""

    @property
    def digest(self) -> str:
        """Hash of `key`; together with a span_key it is a product key."""
        return keys.digest(self.key)

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot before compression."""
        return self.rows_per_slot * math.prod(self.cell_shape) * np.dtype(self.dtype).itemsize

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """y, x, channel."""
        return (len(self.y), len(self.x), len(self.channels))
