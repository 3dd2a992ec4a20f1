"""The index coordinates of a product, `track` and `seconds`: created with its group, written when rows are committed.

Only the coordinator writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.arrays import open_array
from patchlake.tasks.lake.layout import ARRAYS, COORDINATE_CHUNK_ROWS, PTS_SECONDS, SECONDS, TRACK
from patchlake.tasks.lake.zarr_config import PLAIN, zarr_settings
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import DIMS, FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTimes:
    """The index coordinates of consecutive rows of a product, all of one track."""

    product: str
    row_start: int
    track: int
    seconds: FloatArray
    """(n,) centre times from the first displayed frame."""
    pts_seconds: FloatArray | None = None
    """(n,) times of the frames shown; only `pixels` at a numeric rate has it."""

    def values(self, name: str) -> npt.NDArray[Any] | None:
        """Return (n,) values of the named coordinate; None if these rows do not have it."""
        if name == TRACK:
            return np.full(len(self.seconds), self.track, dtype=np.int32)
        return self.seconds if name == SECONDS else self.pts_seconds


_INDEX: dict[str, tuple[str, float, dict[str, Any]]] = {
    TRACK: ("int32", -1, {"long_name": "number of the track in the table `tracks`; -1: no frame here"}),
    SECONDS: ("float64", np.nan, {"units": "s", "long_name": "from the first displayed frame"}),
    PTS_SECONDS: ("float64", np.nan, {"units": "s", "long_name": "time of the frame shown at `seconds`"}),
}
"""Name -> type, fill value and attributes."""


def make_index(group: zarr.Group, *, with_pts: bool = False) -> None:
    """Create the index coordinates that a product's group does not have yet, with length 0."""
    for name in (TRACK, SECONDS, *([PTS_SECONDS] if with_pts else [])):
        if name not in group:
            dtype, fill, attributes = _INDEX[name]
            group.create_array(
                name,
                shape=(0,),
                chunks=(COORDINATE_CHUNK_ROWS,),
                dtype=dtype,
                fill_value=fill,
                dimension_names=DIMS[:1],
                attributes=attributes,
            )


def clear_times(lake: Location, product: str, committed: IntArray, *, rows_per_slot: int) -> None:
    """Write fill values to the index coordinates of all slots but the committed ones, where anything else is."""
    with zarr_settings(PLAIN):
        for name, (_, fill, _) in _INDEX.items():
            if (lake / ARRAYS / product / name).get("zarr.json") is None:
                continue
            array = open_array(lake, f"{product}/{name}", mode="r+")
            for start in range(0, array.shape[0], COORDINATE_CHUNK_ROWS):
                slots = np.arange(start, min(start + COORDINATE_CHUNK_ROWS, array.shape[0])) // rows_per_slot
                free = ~np.isin(slots, committed)
                if free.any():
                    block = np.asarray(array[start : start + len(slots)])
                    empty = np.where(free, np.full_like(block, fill), block)
                    if not np.array_equal(block, empty, equal_nan=block.dtype.kind == "f"):
                        array[start : start + len(slots)] = empty


def write_times(lake: Location, times: Iterable[RowTimes]) -> None:
    """Write index coordinates of some rows: one read and one write of the touched range per coordinate."""
    by_product: dict[str, list[RowTimes]] = {}
    for item in times:
        if len(item.seconds):
            by_product.setdefault(item.product, []).append(item)
    with zarr_settings(PLAIN):
        for product, items in by_product.items():
            for name in _INDEX:
                _write(lake, product, name, items)


def _write(lake: Location, product: str, name: str, items: list[RowTimes]) -> None:
    parts = [(item.row_start, values) for item in items if (values := item.values(name)) is not None]
    if not parts:
        return
    array = open_array(lake, f"{product}/{name}", mode="r+")
    low = min(start for start, _ in parts)
    high = max(start + len(values) for start, values in parts)
    if high > array.shape[0]:
        raise LakeError(f"{lake}: got rows up to {high} of {product}, expected at most {array.shape[0]}, where it ends")
    block = np.asarray(array[low:high])
    for start, values in parts:
        block[start - low : start - low + len(values)] = values
    array[low:high] = block
