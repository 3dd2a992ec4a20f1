"""Reads stored frames at training resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr

from patchlake.tasks.lake.zarr_config import ZARRS, zarr_settings
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import FrameArray, IntArray

CACHE_BYTES = 2 * 1024**3
"""If all clips fit into this much memory at training resolution, they are read once; else window by window."""


def open_frames(path: str) -> zarr.Array[Any]:
    """Open the frames array (time, y, x, channel), uint8, at a path or s3:// URL for reading."""
    with zarr_settings(ZARRS):
        return zarr.open_array(Location(path).zarr_store(read_only=True), mode="r")


class ClipFrames:
    """The frames of clips at training resolution."""

    def __init__(
        self,
        frames: zarr.Array[Any],
        clips: Sequence[ClipRows],
        size: tuple[int, int] | None,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Take the stored frames, the clips, and the (height, width) to resize to (None: as stored)."""
        self.size = size or (frames.shape[1], frames.shape[2])
        self.channels = frames.shape[3]
        self._frames = frames
        self._clips = clips
        total = sum(clip.num_rows for clip in clips) * self.size[0] * self.size[1] * self.channels
        self._cache: list[FrameArray] | None = None
        if total <= cache_bytes:
            self._cache = [self._read(clip.row_start, clip.row_stop) for clip in clips]

    def __call__(self, clip: int, rows: IntArray) -> FrameArray:
        """Return (len(rows), height, width, channel) frames; rows count from the clip's start."""
        if self._cache is not None:
            return self._cache[clip][rows]
        first, last = int(rows.min()), int(rows.max())
        start = self._clips[clip].row_start
        return self._read(start + first, start + last + 1)[rows - first]

    def _read(self, start: int, stop: int) -> FrameArray:
        stored: FrameArray = np.asarray(self._frames[start:stop])
        return stored if stored.shape[1:3] == self.size else _area_resize(stored, self.size)


def _area_resize(frames: FrameArray, size: tuple[int, int]) -> FrameArray:
    import cv2  # only jobs that change the resolution need it

    resized = [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(resized).reshape(len(frames), *size, frames.shape[3]).astype(np.uint8, copy=False)
