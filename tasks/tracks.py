"""Where: boxes of a video, and the way between source pixels and the frame grid."""

from __future__ import annotations

from fractions import Fraction

from patchlake.tasks import keys
from patchlake.tasks.types import Fit, Geometry, Track, Video

Affine = tuple[float, float, float, float, float, float]


def whole_frame(video: Video) -> Track:
    """Return the default track: the video seen whole."""
    return Track(track_id=keys.track_id(video.video_id, None), video_id=video.video_id)


def fit_frame(video: Video, *, size: tuple[int, int], fit: Fit) -> Geometry:
    """Return how the whole frame is put on a frame grid of `size` (height, width).

    crop: the largest centred part of the grid's shape; letterbox: the whole frame with black around it;
    stretch: the whole frame, its shape changed. Sample aspect counts: a picture is shown as it is meant to look.
    Crops start and end on even pixels where the frame has them, so that subsampled chroma stays aligned.
    """
    height, width = size
    shown = Fraction(video.width, video.height) * video.sample_aspect
    wanted = Fraction(width, height)
    whole = (0, 0, video.width, video.height)
    if fit == "stretch" or shown == wanted:
        return Geometry(rotation=video.rotation, crop=whole, scaled=size, pad=(0, 0), size=size)
    if fit == "crop":
        crop_w, crop_h = video.width, video.height
        if shown > wanted:
            crop_w = _even(video.width * wanted / shown, video.width)
        else:
            crop_h = _even(video.height * shown / wanted, video.height)
        x, y = _centre(video.width, crop_w), _centre(video.height, crop_h)
        return Geometry(rotation=video.rotation, crop=(x, y, crop_w, crop_h), scaled=size, pad=(0, 0), size=size)
    scaled_w, scaled_h = width, height
    if shown > wanted:
        scaled_h = max(1, round(width / shown))
    else:
        scaled_w = max(1, round(height * shown))
    pad = ((height - scaled_h) // 2, (width - scaled_w) // 2)
    return Geometry(rotation=video.rotation, crop=whole, scaled=(scaled_h, scaled_w), pad=pad, size=size)


def to_source(geometry: Geometry) -> Affine:
    """Return (a, b, c, d, e, f): source x = a x + b y + c, source y = d x + e y + f.

    From frame-grid pixels to upright source pixels before sample aspect, pixel centres at i + 0.5 on both sides.
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
