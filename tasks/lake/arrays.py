"""The lake's arrays: made and grown by the coordinator alone, filled by workers one whole shard at a time.

Workers write each shard to a private stage array and then move it into place, because zarrs rewrites shards in place
and a reader of a half-written shard can get silent fill values. A shard's bytes do not depend on where it lies, so
the stage is one slot long and is used again and again.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec
from zarr.errors import ZarrUserWarning

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.product import Product
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import DIMS, PIXELS, FloatArray

LAKE_FORMAT = 1
COORDINATE_CHUNK_ROWS = 1 << 17
ZARRS = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.strict": True,
    "threading.max_workers": 1,  # more threads give other bytes from run to run
}
PLAIN = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
ROOT = "arrays.zarr"
_SETTING = threading.RLock()


@contextlib.contextmanager
def zarr_settings(settings: dict[str, Any]) -> Iterator[None]:
    """Have settings of zarr for a moment, one thread at a time: `zarr.config.set` is one for all threads.

    Two of its contexts that overlap would leave one's settings behind. Arrays keep what they were opened with.
    """
    with _SETTING, zarr.config.set(settings):
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTimes:
    """What the index coordinates say of some rows of a product."""

    product: str
    row_start: int
    track: int
    seconds: FloatArray
    pts_seconds: FloatArray | None = None
    """Pixels at a numeric rate only: when the shown frame was due."""


def make_dataset(lake: Location, attrs: Mapping[str, Any]) -> None:
    """Make the root group if there is none, else check that it is this dataset at this format."""
    if root_attrs(lake) is not None:
        return check_dataset(lake, attrs)
    with zarr_settings(PLAIN):
        zarr.open_group((lake / ROOT).zarr_store(), mode="a", attributes={"lake_format": LAKE_FORMAT, **attrs})


def check_dataset(lake: Location, attrs: Mapping[str, Any]) -> None:
    """Raise LakeError where the dataset is of another format, or other constants stand in its root."""
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


def root_attrs(lake: Location) -> dict[str, Any] | None:
    """Return the root group's attributes, or None where there is no dataset."""
    data = (lake / ROOT).get("zarr.json")
    return None if data is None else dict(json.loads(data)["attributes"])


def ensure_arrays(lake: Location, products: Iterable[Product], *, with_pts: bool) -> None:
    """Make the arrays of products that have none yet; lengths are 0 until `grow`."""
    with zarr_settings(PLAIN):
        root = zarr.open_group((lake / ROOT).zarr_store(), mode="r+", use_consolidated=False)
        for product in products:
            group = root.require_group(product.name)
            if product.array not in group:
                _make_product(group, product)
        pixels = root.require_group(PIXELS)
        _make_coordinates(pixels, ["track", "seconds", *(["pts_seconds"] if with_pts else [])])


def _make_product(group: zarr.Group, product: Product) -> None:
    floats = product.dtype != "uint8"
    _make_coordinates(group, ["track", "seconds"])
    for name, values in (("y", product.y), ("x", product.x)):
        if name not in group:
            group.create_array(name, data=np.array(values, dtype=np.float64), dimension_names=(name,))
    if "channel" not in group:
        channel = group.create_array("channel", shape=(len(product.channels),), dtype=str, dimension_names=("channel",))
        channel[:] = np.array(product.channels, dtype=object)
    group.create_array(  # last: a product whose array exists is complete
        product.array,
        shape=(0, *product.cell_shape),
        chunks=(*product.chunk, len(product.channels)),
        shards=(product.rows_per_slot, *product.cell_shape),
        dtype=product.dtype,
        fill_value=0,
        compressors=BloscCodec(
            cname="lz4",
            clevel=5,
            shuffle="bitshuffle" if floats else "noshuffle",
            typesize=np.dtype(product.dtype).itemsize,
        ),
        dimension_names=DIMS,
        attributes={
            "coordinates": "track seconds",
            "product_digest": product.digest,
            "product_key": product.key,
            "time_size": product.time_size,
            "time_stride": product.time_stride,
            "codec": "blosc lz4, " + ("bitshuffle" if floats else "no shuffle"),
            **product.attrs,
        },
    )


def _make_coordinates(group: zarr.Group, names: Iterable[str]) -> None:
    kinds: dict[str, tuple[str, float, dict[str, Any]]] = {
        "track": ("int32", -1, {"long_name": "number of the track in the table `tracks`; -1: no frame here"}),
        "seconds": ("float64", np.nan, {"units": "s", "long_name": "from the first displayed frame"}),
        "pts_seconds": (
            "float64",
            np.nan,
            {"units": "s", "long_name": "time of the frame shown at `seconds`"},
        ),
    }
    for name in names:
        if name not in group:
            dtype, fill, attributes = kinds[name]
            group.create_array(
                name,
                shape=(0,),
                chunks=(COORDINATE_CHUNK_ROWS,),
                dtype=dtype,
                fill_value=fill,
                dimension_names=("time",),
                attributes=attributes,
            )


def product_attrs(lake: Location, name: str) -> dict[str, Any] | None:
    """Return the attributes of the product whose array is in the lake, or None."""
    for array in ("frames", "features"):
        data = (lake / ROOT / name / array).get("zarr.json")
        if data is not None:
            return dict(json.loads(data)["attributes"])
    return None


def product_names(lake: Location) -> list[str]:
    """Return the names of the products whose arrays are in the lake, in order."""
    with zarr_settings(PLAIN):
        root = zarr.open_group((lake / ROOT).zarr_store(read_only=True), mode="r", use_consolidated=False)
        return sorted(name for name in root.group_keys() if product_attrs(lake, name) is not None)


def product_digest(lake: Location, name: str) -> str | None:
    """Return the digest of the product whose array is in the lake, or None."""
    attrs = product_attrs(lake, name)
    return None if attrs is None else str(attrs["product_digest"])


def grow(lake: Location, num_slots: int, *, slot_frames: int) -> None:
    """Make every array `num_slots` slots long (never shorter), then publish the new shape in one step.

    Readers see shapes through the root's consolidated metadata, so that they never meet arrays of different lengths.
    """
    store = (lake / ROOT).zarr_store()
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    for _, group in root.groups():
        arrays = dict(group.arrays())
        main = arrays.get("frames", arrays.get("features"))
        stride = int(main.attrs["time_stride"]) if main is not None else 1  # type: ignore[arg-type]
        length = num_slots * slot_frames // stride
        for name, array in arrays.items():
            if name not in ("y", "x", "channel") and array.shape[0] < length:
                array.resize((length, *array.shape[1:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # consolidated metadata is not in the v3 spec: we know
        zarr.consolidate_metadata(store)


def num_slots(lake: Location, *, slot_frames: int) -> int:
    """Return the length of the time axis in slots."""
    data = (lake / ROOT / PIXELS / "track").get("zarr.json")
    return 0 if data is None else int(json.loads(data)["shape"][0]) // slot_frames


def write_times(lake: Location, times: Iterable[RowTimes]) -> None:
    """Write index coordinates of some rows: one read and one write of the touched range per product."""
    by_product: dict[str, list[RowTimes]] = {}
    for item in times:
        by_product.setdefault(item.product, []).append(item)
    with zarr_settings(PLAIN):
        for product, items in by_product.items():
            items = [item for item in items if len(item.seconds)]
            for name in ("track", "seconds", "pts_seconds"):
                _patch(lake, product, name, items)


def _patch(lake: Location, product: str, name: str, items: list[RowTimes]) -> None:
    values = [(item.row_start, _values(item, name)) for item in items]
    wanted = [(start, value) for start, value in values if value is not None]
    if not wanted:
        return
    array = open_array(lake, f"{product}/{name}", mode="r+")
    low = min(start for start, _ in wanted)
    high = max(start + len(value) for start, value in wanted)
    if high > array.shape[0]:
        raise LakeError(f"{lake}: rows up to {high} of {product}, but its arrays end at {array.shape[0]}")
    block = np.asarray(array[low:high])
    for start, value in wanted:
        block[start - low : start - low + len(value)] = value
    array[low:high] = block


def _values(item: RowTimes, name: str) -> npt.NDArray[Any] | None:
    if name == "track":
        return np.full(len(item.seconds), item.track, dtype=np.int32)
    return item.seconds if name == "seconds" else item.pts_seconds


def open_array(lake: Location, name: str, *, mode: Any = "r") -> zarr.Array[Any]:
    """Return an array by its own path, e.g. pixels/track: never through the root, whose shapes may be older."""
    return zarr.open_array((lake / ROOT / name).zarr_store(read_only=mode == "r"), mode=mode)


def open_pixels(lake: Location) -> zarr.Array[Any]:
    """Return the stored frames, read by zarrs."""
    with zarr_settings(ZARRS):
        return open_array(lake, f"{PIXELS}/frames")


def drop_product(lake: Location, name: str) -> None:
    """Remove a product's arrays; its receipts must be gone before."""
    (lake / ROOT).delete(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata((lake / ROOT).zarr_store())


def clear_stage(lake: Location) -> None:
    """Remove what dead workers left on the stage of a folder lake; no worker of this coordinator runs yet, or still."""
    if lake.is_local:
        lake.delete(STAGE)


def scratch_folder(lake: Location) -> Path:
    """Return a folder for passing files: on a folder lake's own file system, so that a shard moves by one rename."""
    folder = lake.path / STAGE if lake.is_local else Path(tempfile.gettempdir()) / f"patchlake{STAGE}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class ShardWriter:
    """Writes whole shards of one product from one process."""

    def __init__(self, lake: Location, product: Product) -> None:
        self._target = lake / ROOT / product.name / product.array
        self._product = product
        self._stage = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-{product.name}-", dir=scratch_folder(lake)))
        meta = self._target.get("zarr.json")
        if meta is None:
            raise LakeError(f"{self._target}: there is no array; the coordinator makes it before units are submitted")
        described = json.loads(meta)
        described["shape"][0] = product.rows_per_slot
        (self._stage / "zarr.json").write_text(json.dumps(described))
        with zarr_settings(ZARRS):
            self._array = zarr.open_array(zarr.storage.LocalStore(self._stage), mode="r+")

    def stage(self, block: npt.NDArray[Any]) -> Path | None:
        """Encode (rows_per_slot, y, x, channel) values on the stage; None: all fill value, which has no object."""
        staged = self._stage / "c/0/0/0/0"
        with zarr_settings(ZARRS):
            self._array[:] = block
        return staged if staged.exists() else None

    def write(self, slot: int, block: npt.NDArray[Any]) -> int:
        """Put the values in place as one shard; return its bytes."""
        name = f"c/{slot}/0/0/0"
        staged = self.stage(block)
        if staged is None:
            self._target.delete(name)
            return 0
        size = staged.stat().st_size
        if self._target.is_local:
            target = self._target.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, target)
        else:
            self._target.put(name, staged.read_bytes())
            staged.unlink()
        return size


STAGE = ".stage"
