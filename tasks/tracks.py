"""Tracks: boxes of a video, and the mapping between source pixels and the frame grid."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import numpy as np

from patchlake.tasks import keys
from patchlake.tasks.types import Box, BoxPath, Fit, Geometry, Track

Affine = tuple[float, float, float, float, float, float]
Size = tuple[int, int]
"""height, width."""


class FrameSize(Protocol):
    """What is needed of a video: its size after rotation, and its pixels' shape."""

    @property
    def width(self) -> int:
        """Upright source pixels."""

    @property
    def height(self) -> int:
        """Upright source pixels."""

    @property
    def rotation(self) -> int:
        """See `Video`."""

    @property
    def sample_aspect(self) -> Fraction:
        """See `Video`."""


def track_of(video_id: str, boxes: BoxPath | None = None) -> Track:
    """Return the track of a box, by default that of the whole frame."""
    return Track(track_id=keys.track_id(video_id, boxes), video_id=video_id, boxes=boxes)


def box_at(path: BoxPath, seconds: float) -> Box:
    """Return a box at a time: linearly interpolated between the given times, constant before and after them."""
    if not path.seconds:
        return path.boxes[0]
    x, y, w, h = (float(np.interp(seconds, path.seconds, side)) for side in zip(*path.boxes, strict=True))
    return x, y, w, h


def is_inside(path: BoxPath, video: FrameSize) -> bool:
    """Return whether the box overlaps the frame at every given time."""
    return all(x < video.width and y < video.height and x + w > 0 and y + h > 0 for x, y, w, h in path.boxes)


def geometry_at(path: BoxPath | None, seconds: float, video: FrameSize, *, size: Size, fit: Fit) -> Geometry:
    """Return how a track's frame at a time is mapped to the frame grid."""
    box = None if path is None else _pixels(box_at(path, seconds), video)
    return fit_frame(video, size=size, fit=fit, box=box)


def fit_frame(video: FrameSize, *, size: Size, fit: Fit, box: tuple[int, int, int, int] | None = None) -> Geometry:
    """Return how a box (x, y, width, height), or the whole frame, is mapped to a frame grid of `size` (height, width).

    crop: its largest centred part with the grid's aspect ratio; letterbox: all of it, with black around it; stretch:
    all of it, distorted. Sample aspect is applied. Crops start and end on even pixels where possible, so that
    subsampled chroma stays aligned.
    """
    return _fitted(video.width, video.height, video.sample_aspect, video.rotation, size, fit, box)


@lru_cache(maxsize=1024)  # equal for most files of a corpus
def _fitted(
    video_w: int,
    video_h: int,
    sample_aspect: Fraction,
    rotation: int,
    size: Size,
    fit: Fit,
    box: tuple[int, int, int, int] | None,
) -> Geometry:
    height, width = size
    left, top, box_w, box_h = box or (0, 0, video_w, video_h)
    shown = Fraction(box_w, box_h) * sample_aspect
    wanted = Fraction(width, height)
    whole = (left, top, box_w, box_h)
    if fit == "stretch" or shown == wanted:
        return Geometry(rotation=rotation, crop=whole, scaled=size, pad=(0, 0), size=size)
    if fit == "crop":
        crop_w, crop_h = box_w, box_h
        if shown > wanted:
            crop_w = _even(box_w * wanted / shown, box_w)
        else:
            crop_h = _even(box_h * shown / wanted, box_h)
        crop = (left + _centre(box_w, crop_w), top + _centre(box_h, crop_h), crop_w, crop_h)
        return Geometry(rotation=rotation, crop=crop, scaled=size, pad=(0, 0), size=size)
    scaled_w, scaled_h = width, height
    if shown > wanted:
        scaled_h = max(1, round(width / shown))
    else:
        scaled_w = max(1, round(height * shown))
    pad = ((height - scaled_h) // 2, (width - scaled_w) // 2)
    return Geometry(rotation=rotation, crop=whole, scaled=(scaled_h, scaled_w), pad=pad, size=size)


def _pixels(box: Box, video: FrameSize) -> tuple[int, int, int, int]:
    """Return the part of a box inside the frame, rounded to even pixels: at least two, if the frame has them."""
    x, width = _side(box[0], box[2], video.width)
    y, height = _side(box[1], box[3], video.height)
    return x, y, width, height


def _side(start: float, length: float, extent: int) -> tuple[int, int]:
    """Return first pixel and length of the part inside the frame; a box of constant size keeps its length."""
    low, high = max(0.0, start), min(float(extent), start + length)
    pixels = min(extent, 2 * max(1, round((high - low) / 2)))
    return 2 * min(round(low / 2), (extent - pixels) // 2), pixels


def to_source(geometry: Geometry) -> Affine:
    """Return (a, b, c, d, e, f): source x = a x + b y + c, source y = d x + e y + f.

    Maps frame-grid pixels to upright source pixels before sample aspect; pixel centres are at i + 0.5 in both.
    """
    x0, y0, crop_w, crop_h = geometry.crop
    scale_x, scale_y = crop_w / geometry.scaled[1], crop_h / geometry.scaled[0]
    top, left = geometry.pad
    return (scale_x, 0.0, x0 - left * scale_x, 0.0, scale_y, y0 - top * scale_y)


def _even(length: Fraction, limit: int) -> int:
    return min(limit, max(2, 2 * round(length / 2))) if limit >= 2 else limit


def _centre(extent: int, length: int) -> int:
    start = (extent - length) // 2
    return start - start % 2
