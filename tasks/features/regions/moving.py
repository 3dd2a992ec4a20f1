"""Motion relative to the rest of the frame: optical flow, only where frames really differ."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from patchlake.tasks.features import flow
from patchlake.tasks.types import FrameArray

_CHANGED = 8
"""Minimum difference in grey levels, after smoothing, of a pixel that counts as changed."""
_SHARE = 0.25
"""Minimum share of changed pixels in a cell that counts as changed."""
_REACH = 8
"""Pixels by which changed areas are extended from either side to close gaps."""
_SMOOTH = 5
Maps = npt.NDArray[np.float32]


class Moving:
    """Flow of each cell minus the frame's median flow, 0 where nothing changed.

    Flow in flat areas is only a guess. So it is kept where the frame differs from the one before (by 8 grey levels on
    a quarter of the cell, after a 5 x 5 median), in gaps of at most 16 pixels between such cells, and in areas that
    such cells enclose.
    Sources: cv2.DISOpticalFlow, preset fast; cv2.morphologyEx; scipy.ndimage.binary_fill_holes.
    """

    def __init__(self, cell: int, frame_size: tuple[int, int], pool: Callable[[npt.NDArray[Any]], Maps]) -> None:
        """`pool` maps (height, width, channel) values to (y, x, channel) means over cells of `cell` pixels."""
        self._flow = flow.method_for("fast", frame_size)
        self._pool = pool
        self._pad = max(1, round(_REACH / cell))
        self._disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * self._pad + 1, 2 * self._pad + 1))

    def __call__(self, frames: FrameArray) -> Maps:
        """Return (n, y, x, 2), u right and v down in pixels per frame, for (1 + n, height, width, 3) RGB frames."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        found = []
        for before, now in pairwise(grey):
            cells = self._pool(self._flow.calc(before, now, None))  # type: ignore[call-overload]
            cells -= np.median(cells, axis=(0, 1)).astype(np.float32)
            found.append(np.where(self._changed(before, now)[..., None], cells, 0))
        return np.stack(found).astype(np.float32)

    def _changed(self, before: npt.NDArray[Any], now: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return (y, x): which cells changed, or lie between changed cells, or are enclosed by them."""
        apart = cv2.absdiff(cv2.medianBlur(before, _SMOOTH), cv2.medianBlur(now, _SMOOTH)) >= _CHANGED
        changed = (self._pool(apart[..., None]) >= _SHARE)[..., 0].astype(np.uint8)
        padded = cv2.copyMakeBorder(changed, *(self._pad,) * 4, cv2.BORDER_REPLICATE)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, self._disc)[self._pad : -self._pad, self._pad : -self._pad]
        return np.asarray(ndimage.binary_fill_holes(closed), dtype=np.bool_)


def speed(flow: Maps) -> Maps:
    """Return (n, y, x) lengths of (n, y, x, 2) flow."""
    return np.asarray(np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1])), dtype=np.float32)
