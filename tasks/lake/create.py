"""Creates, grows and removes the arrays of a dataset; only the coordinator does this."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.errors import ZarrUserWarning

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake import compare
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


def ensure_arrays(
    lake: Location, products: Iterable[Product], *, with_pts: bool, committed: Collection[str] = ()
) -> None:
    """Make the arrays of products; lengths are 0 until `grow`.

    `committed` are the names of the products that have receipts: their arrays must be as wanted, else LakeError. What
    lies there under any other name is what a run left that failed or was killed: it is removed, and made anew where it
    is wanted. `pixels` always has its index, its frames kept or not; `with_pts` adds `pts_seconds` to it.
    """
    wanted = {product.name: product for product in products}
    with zarr_settings(PLAIN):
        root = zarr.open_group((lake / ARRAYS).zarr_store(), mode="r+", use_consolidated=False)
        for name in (lake / ARRAYS).folders():
            if name not in committed:
                _remove(lake, name)
        for product in wanted.values():
            if product.name in committed:
                compare.check_committed(lake, product)
            _make_product(lake, root.require_group(product.name), product)
        make_index(root.require_group(PIXELS), with_pts=with_pts)


def _remove(lake: Location, name: str) -> None:
    """Remove a product's arrays; the index of `pixels` stays, since it is that of every product."""
    for part in (FRAMES, *CELL_COORDINATES) if name == PIXELS else ("",):
        (lake / ARRAYS).delete(f"{name}/{part}".rstrip("/"))


def _make_product(lake: Location, group: zarr.Group, product: Product) -> None:
    """Make the arrays that a product does not have yet."""
    make_index(group)
    for name, values in compare.cell_values(product).items():
        found = group.get(name)
        if isinstance(found, zarr.Array) and not compare.is_unfinished(found, values):
            if not np.array_equal(np.asarray(found[:]), values):
                raise compare.refusal(lake, product, f"its coordinate {name!r} is not {values.tolist()}")
            continue
        kind = str if name == "channel" else values.dtype
        array = group.create_array(name, shape=values.shape, dtype=kind, dimension_names=(name,), overwrite=True)
        array[:] = values
    if product.array not in group:
        _make_values(group, product)


def _make_values(group: zarr.Group, product: Product) -> None:
    shuffled = product.dtype != "uint8"
    group.create_array(
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
