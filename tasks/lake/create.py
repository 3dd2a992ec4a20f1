"""Creates, grows and removes the arrays of a dataset; only the coordinator does this."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.errors import ZarrUserWarning

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.arrays import root_attrs
from patchlake.tasks.lake.coordinates import make_index
from patchlake.tasks.lake.layout import ARRAYS, CELL_COORDINATES, FEATURES, FRAMES, LAKE_FORMAT, SECONDS, TRACK
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.zarr_config import PLAIN, zarr_settings
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import DIMS, PIXELS


def make_dataset(lake: Location, attrs: Mapping[str, Any]) -> None:
    """Create the root group if there is none, else check it with `check_dataset`."""
    if root_attrs(lake) is not None:
        return check_dataset(lake, attrs)
    with zarr_settings(PLAIN):
        zarr.open_group((lake / ARRAYS).zarr_store(), mode="a", attributes={"lake_format": LAKE_FORMAT, **attrs})


def check_dataset(lake: Location, attrs: Mapping[str, Any]) -> None:
    """Raise LakeError if the dataset has another format, or other constants in its root attributes."""
    known = root_attrs(lake) or {}
    if known.get("lake_format") != LAKE_FORMAT:
        raise LakeError(
            f"{lake}: got lake_format {known.get('lake_format')}, expected {LAKE_FORMAT}; "
            "use the patchlake version that wrote it, or another `name:`"
        )
    for key, value in attrs.items():
        if known.get(key) != value:
            raise LakeError(
                f"{lake}: was made with {key} = {known.get(key)}, the recipe says {value}; "
                "these are constants of a dataset: give the recipe another `name:`, or set them back"
            )


def ensure_arrays(lake: Location, products: Iterable[Product], *, with_pts: bool) -> None:
    """Create the arrays of products that have none yet; lengths are 0 until `grow`.

    `pixels` always has its index, even if its frames are not kept; `with_pts` adds `pts_seconds` to it.
    """
    with zarr_settings(PLAIN):
        root = zarr.open_group((lake / ARRAYS).zarr_store(), mode="r+", use_consolidated=False)
        for product in products:
            group = root.require_group(product.name)
            if product.array not in group:
                _make_product(group, product)
        make_index(root.require_group(PIXELS), with_pts=with_pts)


def _make_product(group: zarr.Group, product: Product) -> None:
    shuffled = product.dtype != "uint8"
    make_index(group)
    for name, values in (("y", product.y), ("x", product.x)):
        if name not in group:
            group.create_array(name, data=np.array(values, dtype=np.float64), dimension_names=(name,))
    if "channel" not in group:
        channel = group.create_array("channel", shape=(len(product.channels),), dtype=str, dimension_names=("channel",))
        channel[:] = np.array(product.channels, dtype=object)
    group.create_array(  # last, so that a product whose array exists is complete
        product.array,
        shape=(0, *product.cell_shape),
        chunks=(*product.chunk, len(product.channels)),
        shards=(product.rows_per_slot, *product.cell_shape),
        dtype=product.dtype,
        fill_value=0,
        compressors=BloscCodec(
            cname="lz4",
            clevel=5,
            shuffle="bitshuffle" if shuffled else "noshuffle",
            typesize=np.dtype(product.dtype).itemsize,
        ),
        dimension_names=DIMS,
        attributes={
            "coordinates": f"{TRACK} {SECONDS}",  # otherwise xarray opens them as data variables
            "product_digest": product.digest,
            "product_key": product.key,
            "time_size": product.time_size,
            "time_stride": product.time_stride,
            "codec": "blosc lz4, " + ("bitshuffle" if shuffled else "no shuffle"),
            **product.attrs,
        },
    )


def grow(lake: Location, num_slots: int, *, slot_frames: int) -> None:
    """Make every array `num_slots` slots long (never shorter), then publish the new shapes in one step.

    Readers get shapes from the root's consolidated metadata, so they never see arrays of different lengths.
    """
    store = (lake / ARRAYS).zarr_store()
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    for _, group in root.groups():
        arrays = dict(group.arrays())
        main = arrays.get(FRAMES, arrays.get(FEATURES))
        stride = int(main.attrs["time_stride"]) if main is not None else 1  # type: ignore[arg-type]
        length = num_slots * slot_frames // stride
        for name, array in arrays.items():
            if name not in CELL_COORDINATES and array.shape[0] < length:
                array.resize((length, *array.shape[1:]))
    _publish(store)


def drop_product(lake: Location, name: str) -> None:
    """Remove a product's arrays; remove its receipts first."""
    (lake / ARRAYS).delete(name)
    _publish((lake / ARRAYS).zarr_store())


def _publish(store: Any) -> None:
    """Rewrite the root's consolidated metadata, from which readers get groups and shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # "not part of the v3 specification"
        zarr.consolidate_metadata(store)
