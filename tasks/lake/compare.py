"""Comparing what lies on disk with the product that is wanted: that a name is there proves nothing.

A first try that failed, or a kill while a product was made or removed, can leave arrays of another grid, some of the
arrays, or coordinates without their values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.layout import ARRAYS, SECONDS, TRACK
from patchlake.tasks.lake.product import Product
from patchlake.tasks.storage.location import Location


def check_committed(lake: Location, product: Product) -> None:
    """Raise LakeError where a product that has receipts lacks an array, or has one that is not as wanted.

    Chunks stay as they were first made: they decide no values.
    """
    wrong = [*_missing(lake, product), *_differences(lake, product)]
    if wrong:
        raise refusal(lake, product, "; ".join(wrong))


def refusal(lake: Location, product: Product, wrong: str) -> LakeError:
    """Return the error for a committed product that is not as wanted."""
    return LakeError(
        f"{lake}: {product.name} has committed rows, but {wrong}. "
        f"Put {ARRAYS}/{product.name} back as it was, or remove the rows (`patchlake features RECIPE --drop "
        f"{product.name}`; for pixels: another `name:`)"
    )


def cell_values(product: Product) -> dict[str, npt.NDArray[Any]]:
    """Return the coordinates of a row's cells: name -> values."""
    return {
        "y": np.array(product.y, dtype=np.float64),
        "x": np.array(product.x, dtype=np.float64),
        "channel": np.array(product.channels, dtype=object),
    }


def is_unfinished(found: zarr.Array[Any], wanted: npt.NDArray[Any]) -> bool:
    """Return whether a coordinate was made, but its values were never written: all are 0, or empty strings."""
    values = np.asarray(found[:])
    return values.shape == wanted.shape and not np.array_equal(values, wanted) and not any(values.tolist())


def _missing(lake: Location, product: Product) -> Iterator[str]:
    for name in (product.array, TRACK, SECONDS):
        if _metadata(lake, product, name) is None:
            yield f"its array {name!r} is missing"


def _differences(lake: Location, product: Product) -> Iterator[str]:
    found = _metadata(lake, product, product.array)
    if found is None:
        return
    shape = list(product.cell_shape)
    pairs = {
        "product digest": (found["attributes"].get("product_digest"), product.digest),
        "y, x, channels of a row": (found["shape"][1:], shape),
        "type": (found["data_type"], product.dtype),
        "shard": (found["chunk_grid"]["configuration"]["chunk_shape"], [product.rows_per_slot, *shape]),
    }
    for what, (given, expected) in pairs.items():
        if given != expected:
            yield f"{what}: got {given}, expected {expected}"


def _metadata(lake: Location, product: Product, array: str) -> dict[str, Any] | None:
    data = (lake / ARRAYS / product.name / array).get("zarr.json")
    return None if data is None else dict(json.loads(data))
