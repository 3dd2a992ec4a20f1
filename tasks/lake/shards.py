"""Writing whole shards: workers encode each in a private staging array, then move it into place.

zarrs rewrites shards in place, and a reader of a half-written shard can silently get fill values. A shard's bytes do
not depend on its position, so the staging array is one slot long and is reused.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy.typing as npt
import zarr

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.layout import ARRAYS, STAGE
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.zarr_config import ZARRS, zarr_settings
from patchlake.tasks.storage.location import Location


def clear_stage(lake: Location) -> None:
    """Remove staged files that dead workers left in a folder lake. No worker may be running."""
    if lake.is_local:
        lake.delete(STAGE)


def scratch_folder(lake: Location) -> Path:
    """Return a folder for temporary files: in a folder lake itself, so that one rename moves a shard into place."""
    folder = lake.path / STAGE if lake.is_local else Path(tempfile.gettempdir()) / f"patchlake{STAGE}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class ShardWriter:
    """Writes whole shards of one product from one process.

    Raises LakeError if the coordinator has not created the product's array yet.
    """

    def __init__(self, lake: Location, product: Product) -> None:
        self._target = lake / ARRAYS / product.name / product.array
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
        """Encode (rows_per_slot, y, x, channel) values on the stage and return the file; None: all is fill value."""
        if block.shape != self._array.shape:
            raise LakeError(
                f"{self._target}: got a block of shape {block.shape}, expected {self._array.shape}: the array was made "
                f"for other options of {self._product.name}"
            )
        staged = self._stage / "c/0/0/0/0"
        with zarr_settings(ZARRS):
            self._array[:] = block
        return staged if staged.exists() else None

    def write(self, slot: int, block: npt.NDArray[Any]) -> int:
        """Write (rows_per_slot, y, x, channel) values as one shard; return its size in bytes.

        A shard of fill values only has no object: an existing one is removed.
        """
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
