"""Reading a lake: products and windows as lazy xarray, tables as Arrow, random samples, alignment of two products."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr
import zarr
from xarray.core import indexing

from patchlake.tasks import tracks as boxes
from patchlake.tasks.errors import LakeError
from patchlake.tasks.grid import Grid, Triple
from patchlake.tasks.lake import arrays, nearest, windows
from patchlake.tasks.lake.committed import committed_ranges
from patchlake.tasks.lake.layout import ARRAYS, FEATURES, FRAMES, ROOT_METADATA, values_path
from patchlake.tasks.lake.product_rows import ProductRows, RowIndex
from patchlake.tasks.lake.schema import path_of, video_of
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.zarr_config import PLAIN, ZARRS, opening, zarr_settings
from patchlake.tasks.storage.location import Location
from patchlake.tasks.tracks import Affine, geometry_at
from patchlake.tasks.types import PIXELS, BoxPath, IntArray

_BOTH = {**ZARRS, "codec_pipeline.strict": False}
"""zarrs for everything except channel names: strings are left to zarr-python."""


@dataclass(frozen=True)
class Lake:
    """A lake; each call reads its current state. Nothing stays open, so it can be pickled."""

    location: Location

    @property
    def sources(self) -> pa.Table:
        """One row per discovered uri."""
        return Tables(self.location).sources.read()

    @property
    def tracks(self) -> pa.Table:
        """One row per track; `track` is its number in the arrays."""
        return Tables(self.location).tracks.read()

    @property
    def clips(self) -> pa.Table:
        """One row per clip: its label, times and rows [row_start, row_stop) of `pixels`."""
        return Tables(self.location).clips.read()

    @property
    def regions(self) -> pa.Table:
        """One row per region of each window of a `regions` feature; `region_track` links them over time."""
        return Tables(self.location).regions.read()

    @property
    def products(self) -> tuple[str, ...]:
        """Names of the products that have an array."""
        root = json.loads(self.location.get(ROOT_METADATA) or b"{}")
        nodes = root.get("consolidated_metadata", {}).get("metadata", {})
        return tuple(sorted({n.split("/")[0] for n in nodes if n.endswith((f"/{FRAMES}", f"/{FEATURES}"))}))

    def product(self, name: str) -> xr.Dataset:
        """Return a product as stored, lazily, including padding rows (`track` -1)."""
        self._array(name)
        with opening(_BOTH):
            return xr.open_dataset(
                (self.location / ARRAYS).zarr_store(read_only=True), engine="zarr", group=name, consolidated=True
            )

    def patches(self, grid: Grid, product: str = PIXELS) -> xr.DataArray:
        """Return every window of a grid over committed rows, lazily: (time, y, x, dt, dy, dx, channel).

        time, y, x index the window; dt, dy, dx the position within it. Coordinates: `y` and `x` are the windows'
        centres in frame-grid pixels, `seconds` their centre in time, `row` their first row of the product, `track` the
        track's number. With the recipe's patch grid they equal those of its features. A window lies within one span,
        and the grid starts at the span's first row. Only what is selected is read; values are read-only views where
        windows overlap. Select one window (`isel(time=3, y=0, x=1)`), a block (`sel(y=slice(0, 64))`), or points by
        three arrays along one new dimension. Raises LakeError if there is no such product, ValueError if no window
        fits.
        """
        stored = self._array(product)
        extents = stored.shape[1], stored.shape[2]
        if 0 in (grid.num_cells(1, extents[0]), grid.num_cells(2, extents[1])):
            raise ValueError(f"got {grid}, expected cells that fit into the {extents} (y, x) cells of {product}")
        row, track = committed_ranges(self.location, product).cells(grid)
        seconds = self._coordinate(product, "seconds")
        starts = (row, *_starts(grid, extents))
        y, x = (
            (self._coordinate(product, name)[first] + self._coordinate(product, name)[first + size - 1]) / 2
            for name, first, size in zip(("y", "x"), starts[1:], grid.size[1:], strict=True)
        )
        attrs = {name: stored.attrs[name] for name in ("units", "range") if name in stored.attrs}
        return xr.DataArray(
            indexing.LazilyIndexedArray(_Windows(self, product, starts, grid.size)),
            coords={
                "track": ("time", track),
                "seconds": ("time", (seconds[row] + seconds[row + grid.size[0] - 1]) / 2, {"units": "s"}),
                "row": ("time", row),
                "y": y,
                "x": x,
                "channel": self._coordinate(product, "channel"),
            },
            dims=windows.DIMS,
            name=product,
            attrs={**attrs, "size": list(grid.size), "stride": list(grid.stride), "offset": list(grid.offset)},
        )

    def sample(
        self, grid: Grid, count: int, *, seed: int, batch: int = 64, product: str = PIXELS
    ) -> Iterator[xr.DataArray]:
        """Yield `count` windows, drawn uniformly with replacement, in batches (window, dt, dy, dx, channel) in memory.

        Which windows come, and in which order, depends only on the seed, not on `batch`; a larger `count` continues the
        same sequence. A batch reads each chunk it needs once. Coordinates are those of `patches`, along `window`.
        """
        patches = self.patches(grid, product)
        shape = patches.shape[:3]
        if not patches.size:
            raise ValueError(f"got {grid}, but no committed span of {product} is long enough; use a smaller size[0]")
        generator = np.random.default_rng(seed)
        stored = self._array(product)
        starts = (patches.row.values, *_starts(grid, (stored.shape[1], stored.shape[2])))
        for first in range(0, count, batch):
            draws = generator.integers(int(np.prod(shape)), size=min(batch, count - first))
            time, y, x = np.unravel_index(draws, shape)
            corners = np.stack([s[i] for s, i in zip(starts, (time, y, x), strict=True)], axis=1)
            values = windows.read_windows(stored, corners, grid.size)
            along = {n: ("window", patches[n].values[time]) for n in ("track", "seconds", "row")}
            along |= {"y": ("window", patches.y.values[y]), "x": ("window", patches.x.values[x])}
            coords = {**along, "channel": patches.channel}
            yield xr.DataArray(values, coords, ("window", *windows.DIMS[3:]), name=product, attrs=patches.attrs)

    def align(self, a: str, b: str, *, tolerance_seconds: float | None = None) -> xr.Dataset:
        """Return, for each row and cell of product `a`, the index of the row and cell of `b` with the nearest centre.

        `time_index(time)` is a row of the same track, or -1 if there is none (within the tolerance) and on padding;
        `distance_seconds(time)` is the distance to it; `y_index(y)` and `x_index(x)` are cells. Ties go to the first.
        `lake.product(b).isel(time=p.time_index, y=p.y_index, x=p.x_index)` has the shape of `a`.
        """
        mine, theirs = self._centres(a), self._centres(b)
        found, distance = nearest.nearest_rows(mine, theirs)
        if tolerance_seconds is not None:
            far = ~(distance <= tolerance_seconds)
            found[far], distance[far] = -1, np.nan
        length = self._array(a).shape[0]
        index, distances = np.full(length, -1), np.full(length, np.nan)
        index[mine.row], distances[mine.row] = found, distance
        cells = {
            f"{name}_index": (name, nearest.nearest_cells(self._coordinate(a, name), self._coordinate(b, name)))
            for name in ("y", "x")
        }
        return xr.Dataset(
            {"time_index": ("time", index), "distance_seconds": ("time", distances, {"units": "s"}), **cells},
            coords={name: ("time", self._coordinate(a, name)) for name in ("track", "seconds")},
            attrs={"of": a, "nearest_in": b},
        )

    def to_source(self, track: int, seconds: float = 0.0) -> Affine:
        """Return the affine map from frame-grid pixels of a track to upright source pixels, as (a, b, c, d, e, f).

        source x = a x + b y + c, source y = d x + e y + f (`Grid.source_box` applies it to a cell). If the track's box
        moves, the map is that of one time: the row's `seconds`, or `pts_seconds` if the frame grid has a numeric rate.
        Raises LakeError for a track that the lake does not have.
        """
        tables = Tables(self.location)
        known = {row["track"]: row for row in tables.tracks.rows()}
        if track not in known:
            raise LakeError(f"{self.location}: got track {track}, expected a number in the table `tracks`")
        row = known[track]
        if row["to_source"] is not None:
            a, b, c, d, e, f = row["to_source"]
            return a, b, c, d, e, f
        videos = tables.videos.read()
        (video,) = videos.filter(pc.equal(videos["video_id"], row["video_id"])).to_pylist()
        frames: Any = (arrays.product_attrs(self.location, self.products[0]) or {})["product_key"]["frames"]
        path = boxes_of(tables, row)
        geometry = geometry_at(path, seconds, video_of(video), size=tuple(frames["size"]), fit=frames["fit"])
        return boxes.to_source(geometry)

    def _array(self, product: str) -> zarr.Array[Any]:
        if product not in self.products:
            known = ", ".join(self.products) or "none"
            hint = "; its recipe has `frames: {keep: false}`" if product == PIXELS else ""
            raise LakeError(f"{self.location}: got the product {product!r}, expected one of: {known}{hint}")
        with opening(ZARRS):
            return arrays.open_array(self.location, values_path(product))

    def _coordinate(self, product: str, name: str) -> Any:
        with zarr_settings(PLAIN):
            return np.asarray(arrays.open_array(self.location, f"{product}/{name}")[:])

    def _centres(self, product: str) -> RowIndex:
        self._array(product)
        return ProductRows(self.location, product).index().select(committed_ranges(self.location, product).rows())


class _Windows(windows.WindowArray):
    """Windows of a product. A process that unpickles them opens the product again, so that it also reads by zarrs."""

    def __init__(self, lake: Lake, product: str, starts: tuple[IntArray, IntArray, IntArray], size: Triple) -> None:
        super().__init__(lake._array(product), starts, size)
        self._made_of = (lake, product, starts, size)

    def __reduce__(self) -> Any:
        return type(self), self._made_of


def boxes_of(tables: Tables, track: dict[str, Any]) -> BoxPath | None:
    """Return the boxes of a row of `tracks`; None: the whole frame."""
    table = tables.track_boxes.read()
    return path_of(track, table.filter(pc.equal(table["track"], track["track"])).to_pylist())


def _starts(grid: Grid, extents: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Return the first y and the first x of each cell."""
    y, x = (np.array(grid.starts(axis, extents[axis - 1]), dtype=np.int64) for axis in (1, 2))
    return y, x
