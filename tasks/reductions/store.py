"""Reductions in the lake: LAKE/NAME/reductions/KIND-PRODUCT.zarr, each with the key of its inputs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import zarr

from patchlake.tasks import failpoints
from patchlake.tasks.lake import layout
from patchlake.tasks.storage.location import Location

if TYPE_CHECKING:
    import xarray as xr


def place(lake: Location, name: str) -> Location:
    """Return the location of a reduction."""
    return lake / layout.reduction(name)


def write(lake: Location, name: str, result: xr.Dataset, *, key: str) -> None:
    """Write a reduction; its key is written last, so that an incomplete one counts as missing."""
    target = place(lake, name)
    target.delete("")
    store = target.zarr_store()
    result.to_zarr(store, mode="w", zarr_format=3, consolidated=False)
    failpoints.reach("reduction_written")
    zarr.open_group(store, mode="r+").update_attributes({"key": key})


def read(lake: Location, name: str, *, key: str | None = None) -> xr.Dataset | None:
    """Return a stored reduction, or None if there is none, or none with this `key`."""
    target = place(lake, name)
    if target.get("zarr.json") is None:
        return None
    import xarray as xr  # with pandas, half a second that most runs need not pay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # xarray recommends consolidated metadata
        found = xr.open_dataset(target.zarr_store(read_only=True), engine="zarr", consolidated=False)  # type: ignore[arg-type]
    if "key" not in found.attrs or (key is not None and found.attrs["key"] != key):
        return None
    return found
