"""`regions`: connected regions of similar cells in a window of frames, as labels."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from patchlake.tasks import features
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import Cells, Extractor, FrameExtractor
from patchlake.tasks.features.pooling import cell_centres
from patchlake.tasks.features.regions import growing
from patchlake.tasks.features.regions.growing import Bools, Values
from patchlake.tasks.features.regions.moving import Moving, speed
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

_TOLERANCE = {"color": 6.0, "motion": 1.0, "features": 0.5}
_UNITS = {"color": "grey level", "motion": "pixel / frame", "features": "1"}
Maps = npt.NDArray[np.float32]


class Regions(FrameExtractor):
    """Labels of the regions of each window of `window` frames; windows touch, counted from the span's first frame.

    A cell is `cell` x `cell` pixels of one frame (the remainder at the frame's right and lower edge is in no cell).
    Two cells that touch in time, y or x are joined if they are at most `tolerance` apart: the root mean square over
    channels of the difference of
    color     their mean RGB, after a median filter over `smooth` x `smooth` pixels, grey levels
    motion    their mean optical flow from the frame before (cv2.DISOpticalFlow, preset fast), minus the frame's median
              flow, so that a panning camera moves nothing; pixels per frame; slower cells are in no region
    features  their vectors of another feature over the cell and the eight around it (mirrored past the frame's
              border), each channel in units of its standard deviation over the window
    Regions smaller than `min_area` or larger than `max_area` are left out.

    label  0: in no region; else the region's number in its window: 1, 2, ... in the order of first cells by time, y,
           x; with given seeds the seed's number, from 1. Numbers of different windows are unrelated: the table
           `regions` links them.

    Frames at a span's end that fill no window have no rows. Methods and libraries: see growing.py.
    """

    version = 1
    channels: tuple[str, ...] = ("label",)
    dtype: Literal["float16", "float32", "uint16"] = "uint16"
    time_size = 1
    time_stride = 1
    needs_gpu = False

    def __init__(self, spec: RegionsSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        if min(frame_size) < spec.cell:
            raise RecipeError(f"features.{spec.name}.cell: got {spec.cell}, expected at most {min(frame_size)}")
        grid = Grid((1, spec.cell, spec.cell), (1, spec.cell, spec.cell))
        self._spec, self._size = spec, frame_size
        self._tolerance = spec.tolerance or _TOLERANCE[spec.join]
        self._moving = None if spec.join != "motion" else Moving(spec.cell, frame_size, self.cells)
        self._compared: Extractor | None = None
        self.compared: tuple[str, ...] = {"color": ("red", "green", "blue"), "motion": ("u", "v")}.get(spec.join, ())
        """Channels of the compared values."""
        if spec.feature is not None:
            around = Grid((1, 3 * spec.cell, 3 * spec.cell), grid.stride)
            padded = (frame_size[0] // spec.cell + 2) * spec.cell, (frame_size[1] // spec.cell + 2) * spec.cell
            self._compared = features.build(spec.feature, patches=around, frame_size=padded)
            self.compared = self._compared.channels
        self._seeds = _cells_of(spec, frame_size)
        self.window_rows = spec.window
        self.context_frames = (1, 0) if spec.join == "motion" else (0, 0)
        self.centres = cell_centres(grid, frame_size)
        self.digest_parts: dict[str, Any] = {
            **spec.model_dump(mode="json", exclude={"kind", "name", "overlap", "feature"}),
            "tolerance": self._tolerance,
        }
        if self._compared is not None:
            kind = {"kind": spec.feature.kind} if spec.feature is not None else {}
            self.digest_parts |= {"feature": {**kind, "version": self._compared.version, **self._compared.digest_parts}}
        self.attrs: dict[str, Any] = {
            "units": "label",
            "window_frames": spec.window,
            "join": f"{spec.join}, at most {self._tolerance:g} {_UNITS[spec.join]} apart",
            "pooling": f"cells of {spec.cell} x {spec.cell} pixels",
            "method": "connected components of touching, like cells (scipy.sparse.csgraph)"
            if spec.seeds == "auto"
            else "what hangs together with a seed and is like it (scipy.ndimage.label)",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.uint16]:
        """Return (n, y, x, 1) for (before + n, height, width, 3) RGB frames, n being a multiple of the window."""
        before, window = self.context_frames[0], self.window_rows
        starts = range(0, len(frames) - before, window)
        labels = [self._grow(frames[start : start + before + window]) for start in starts]
        cells = len(self.centres[0]), len(self.centres[1])
        return np.concatenate([np.zeros((0, *cells), np.uint16), *labels])[..., None]

    def values(self, frames: FrameArray) -> Values:
        """Return the compared values of a window's cells, (n, y, x, `compared`), for (before + n, ...) frames."""
        if self._moving is not None:
            return self._moving(frames)
        if self._compared is None:
            return np.stack([self.cells(self._smooth(frame)) for frame in frames])
        (found,) = self._compared.compute([Cells(np.stack([self._padded(frame) for frame in frames]))])
        return np.asarray(found, dtype=np.float32)

    def _grow(self, frames: FrameArray) -> npt.NDArray[np.uint16]:
        """Return the (n, y, x) labels of one window."""
        values = self.values(frames)
        area = self._size[0] * self._size[1] / self._spec.cell**2
        smallest = self._spec.min_area * area
        alive: Bools = np.ones(values.shape[:3], dtype=np.bool_)
        if self._moving is not None:
            alive = speed(values) >= self._spec.least_motion
        if self._compared is not None:
            values = _scaled(values)
        if self._seeds is None:
            labels = growing.grow(values, alive, tolerance=self._tolerance, core=smallest / 4)
        else:
            labels = growing.grow_from(values, alive, self._seeds, tolerance=self._tolerance)
        labels = growing.of_size(labels, least=smallest, most=self._spec.max_area * area)
        return (growing.in_order(labels) if self._seeds is None else labels).astype(np.uint16)

    def _smooth(self, frame: FrameArray) -> FrameArray:
        return frame if self._spec.smooth == 1 else np.asarray(cv2.medianBlur(frame, self._spec.smooth), np.uint8)

    def _padded(self, frame: FrameArray) -> FrameArray:
        """Return the frame's whole cells, padded by one mirrored cell on each side."""
        cell, (height, width) = self._spec.cell, (len(centres) * self._spec.cell for centres in self.centres)
        return np.asarray(cv2.copyMakeBorder(frame[:height, :width], *(cell,) * 4, cv2.BORDER_REFLECT_101), np.uint8)

    def cells(self, values: npt.NDArray[Any]) -> Maps:
        """Return (y, x, channel) means over each cell of (height, width, channel) values."""
        height, width = (len(centres) for centres in self.centres)
        values = np.asarray(values, dtype=np.float32)
        if self._spec.cell == 1:
            return values
        whole = np.ascontiguousarray(values[: height * self._spec.cell, : width * self._spec.cell])
        means = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)  # drops the axis of a single channel
        return np.asarray(means, dtype=np.float32).reshape(height, width, values.shape[2])


def _scaled(values: Values) -> Values:
    """Return values with each channel in units of its standard deviation; constant channels unchanged."""
    deviation = values.reshape(-1, values.shape[-1]).std(axis=0, dtype=np.float64)
    return np.asarray(values / np.where(deviation > 0, deviation, 1), dtype=np.float32)


def _cells_of(spec: RegionsSpec, frame_size: tuple[int, int]) -> list[tuple[int, int]] | None:
    """Return the (y, x) cells that contain the given seeds; None: automatic seeds."""
    if spec.seeds == "auto":
        return None
    height, width = (extent // spec.cell for extent in frame_size)
    found = [(int(y // spec.cell), int(x // spec.cell)) for y, x in spec.seeds]
    for (y, x), seed in zip(found, spec.seeds, strict=True):
        if y >= height or x >= width:
            raise RecipeError(
                f"features.{spec.name}.seeds: got {list(seed)}, expected y, x in the cells of a frame of {frame_size}"
            )
    return found
