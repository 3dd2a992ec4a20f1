"""The arrays of a lake: which products exist, their attributes, and how to open one."""

from __future__ import annotations

import json
import os
from typing import Any

import zarr

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake.layout import ARRAYS, FEATURES, FRAMES, ROOT_METADATA
from patchlake.tasks.lake.zarr_config import PLAIN, zarr_settings
from patchlake.tasks.storage.location import Location


def root_attrs(lake: Location) -> dict[str, Any] | None:
    """Return the root group's attributes, or None if there is no dataset."""
    data = lake.get(ROOT_METADATA)
    return None if data is None else dict(json.loads(data)["attributes"])


def existing_lake(place: str) -> Location:
    """Return the location of the lake at LAKE/NAME, a folder or an s3:// URL.

    Raises RecipeError if there is no lake.
    """
    lake = Location(place if "://" in place else os.path.abspath(place))
    if lake.get(ROOT_METADATA) is None:
        raise RecipeError(f"got {place!r}, expected LAKE/NAME of a lake that a run has made (it holds {ARRAYS})")
    return lake


def product_attrs(lake: Location, name: str) -> dict[str, Any] | None:
    """Return the attributes of the product whose array is in the lake, or None."""
    for array in (FRAMES, FEATURES):
        data = (lake / ARRAYS / name / array).get("zarr.json")
        if data is not None:
            return dict(json.loads(data)["attributes"])
    return None


def product_names(lake: Location) -> list[str]:
    """Return the names of the products whose arrays are in the lake, in order."""
    with zarr_settings(PLAIN):
        root = zarr.open_group((lake / ARRAYS).zarr_store(read_only=True), mode="r", use_consolidated=False)
        return sorted(name for name in root.group_keys() if product_attrs(lake, name) is not None)


def product_digest(lake: Location, name: str) -> str | None:
    """Return the digest of the product whose array is in the lake, or None."""
    attrs = product_attrs(lake, name)
    return None if attrs is None else str(attrs["product_digest"])


def open_array(lake: Location, name: str, *, mode: Any = "r") -> zarr.Array[Any]:
    """Return an array by its own path, e.g. pixels/track; never through the root, whose shapes may be outdated.

    It is read and written under the zarr settings in effect now (`zarr_config`).
    """
    return zarr.open_array((lake / ARRAYS / name).zarr_store(read_only=mode == "r"), mode=mode)
