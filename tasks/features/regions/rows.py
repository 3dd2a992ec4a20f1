"""Regions as rows of the table `regions`: one for each region of each window, computed from stored labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from patchlake.tasks import keys, tracks
from patchlake.tasks.features.regions.labels import Regions
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.lake.schema import Row
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS, BoxPath, FloatArray, FrameArray, FrameGrid, Placement, Video

LEAST_OVERLAP = 0.05
"""Minimum intersection over union of two regions that is recorded."""
Labels = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all parts of a labels product share."""

    lake: Location
    product: Product
    entry: RegionsSpec
    frames: FrameGrid
    patches: Grid


@dataclass(frozen=True, kw_only=True)
class Part:
    """Committed rows of a span that one task handles."""

    placement: Placement
    video: Video
    boxes: BoxPath | None
    """Boxes of the span's track."""
    row_start: int
    row_stop: int
    """Multiples of the window, except at the span's end."""


def parts_of(placement: Placement, video: Video, boxes: BoxPath | None, *, slot_frames: int) -> list[Part]:
    """Return the parts of a span, cut at the borders of slots."""
    first, stop = placement.row_start, placement.row_stop
    borders = [first, *range((first // slot_frames + 1) * slot_frames, stop, slot_frames), stop]
    return [
        Part(placement=placement, video=video, boxes=boxes, row_start=a, row_stop=b)
        for a, b in pairwise(borders)
        if a < b
    ]


def describe(job: Job, part: Part) -> list[Row]:
    """Return the rows of `regions` of a part, by window, then label; `region_track` is filled in later.

    Means are over stored pixels: None if the lake keeps no pixels.
    """
    found = _Stored(job, part)
    window, rows = job.entry.window, []
    for first in range(part.row_start, part.row_stop - window + 1, window):
        labels = found.labels(first, first + window)
        if labels is not None and labels.any():
            rows += _window_rows(job, part, found, first, labels)
    return rows


class _Stored:
    """Stored rows of a part, with one more row at either end if the span has one; and the extractor that made them."""

    def __init__(self, job: Job, part: Part) -> None:
        self.extractor = Regions(job.entry, job.patches, job.frames.size)
        self._low = max(part.row_start - 1, part.placement.row_start)
        self._high = min(part.row_stop + 1, part.placement.row_stop)
        pixels = ProductRows(job.lake, PIXELS)
        self._frames = pixels.values if pixels.is_stored else None
        rows = ProductRows(job.lake, job.product.name).read(self._low, self._high)
        self._labels: Labels = rows.values[..., 0]
        self._there = rows.track == part.placement.track
        self._seconds = pixels.index(self._low, self._high).seconds

    def labels(self, start: int, stop: int) -> Labels | None:
        """Return labels of rows [start, stop); None if any of them is missing."""
        if start < self._low or stop > self._high or not self._there[start - self._low : stop - self._low].all():
            return None
        return self._labels[start - self._low : stop - self._low]

    def seconds(self, row: int) -> float | None:
        """Return the time at which a row is shown, None if the row is outside or has no time."""
        inside = self._low <= row < self._high and not np.isnan(self._seconds[row - self._low])
        return float(self._seconds[row - self._low]) if inside else None

    def frames(self, start: int, stop: int, before: int) -> FrameArray | None:
        """Return (before + stop - start, ...) frames; if there is none before, the first is repeated."""
        if self._frames is None:
            return None
        first = start if not before or self.labels(start - 1, start) is None else start - 1
        frames = np.asarray(self._frames[first:stop])
        return np.concatenate([frames[:1], frames]) if before and first == start else frames


def _window_rows(job: Job, part: Part, found: _Stored, first: int, labels: Labels) -> list[Row]:
    """Return the rows of one window, whose first row is `first`."""
    rgb, compared = _means(found, first, labels)
    links = _overlaps(found.labels(first - 1, first), labels[0])
    rows = []
    for label, shape in _shapes(labels, job.entry.cell).items():
        window_row = first - part.placement.row_start
        start, last = first + shape.first, first + shape.last
        begun, ended, after = found.seconds(start), found.seconds(last), found.seconds(last + 1)
        assert begun is not None and ended is not None, "rows with labels have times"  # noqa: PT018  types
        (y, x), seconds = shape.centres[-1] - shape.centres[0], ended - begun
        rows.append({
            "region_id": keys.digest("region", part.placement.span.span_key, job.product.digest, window_row, label),
            "region_track": "",
            "product": job.product.name, "product_digest": job.product.digest,
            "track": part.placement.track, "video_id": part.video.video_id,
            "span_key": part.placement.span.span_key, "label": label,
            "row_start": start, "row_stop": last + 1, "start_seconds": begun, "last_seconds": ended,
            "stop_seconds": ended + _frame_seconds(job, part) if after is None else after,
            "area": shape.area, "box": list(map(float, shape.around)),
            "source_box": _to_source(job, part, shape.around, begun),
            "first_box": _to_source(job, part, shape.boxes[0], begun),
            "last_box": _to_source(job, part, shape.boxes[-1], ended),
            "motion": [float(x / seconds), float(y / seconds)] if seconds else None,
            "mean_rgb": rgb.get(label), "mean_feature": compared.get(label),
            "overlaps": sorted(links.get(label, {}).items()),
        })  # fmt: skip
    return rows


@dataclass(frozen=True)
class _Shape:
    """One region of a window, in frame-grid pixels; boxes are x, y, width, height."""

    first: int
    last: int
    area: float
    """Mean over the frames in which it appears."""
    boxes: list[tuple[int, int, int, int]]
    """One per frame in which it appears."""
    centres: list[FloatArray]
    """y, x of its centre of mass, one per frame in which it appears."""

    @property
    def around(self) -> tuple[int, int, int, int]:
        """The bounding box of all of them."""
        left, top = (min(box[i] for box in self.boxes) for i in (0, 1))
        right, bottom = (max(box[i] + box[i + 2] for box in self.boxes) for i in (0, 1))
        return left, top, right - left, bottom - top


def _shapes(labels: Labels, cell: int) -> dict[int, _Shape]:
    """Return the shape of each label of (time, y, x) labels of cells, by label."""
    seen: dict[int, list[tuple[int, tuple[int, int, int, int], int, FloatArray]]] = {}
    y, x = (axis.ravel() for axis in np.indices(labels.shape[1:]))
    for time, frame in enumerate(labels):
        flat = frame.ravel()
        areas, sum_y, sum_x = (np.bincount(flat, weights=w) for w in (None, y, x))
        for label, place in enumerate(ndimage.find_objects(frame), start=1):
            if place is not None:
                rows, columns = place
                size = (columns.stop - columns.start) * cell, (rows.stop - rows.start) * cell
                count = int(areas[label])
                centre = (np.array([sum_y[label], sum_x[label]]) / count + 0.5) * cell
                box = (columns.start * cell, rows.start * cell, *size)
                seen.setdefault(label, []).append((time, box, count * cell**2, centre))
    return {
        label: _Shape(
            first=shown[0][0],
            last=shown[-1][0],
            area=sum(area for _, _, area, _ in shown) / len(shown),
            boxes=[box for _, box, _, _ in shown],
            centres=[centre for *_, centre in shown],
        )
        for label, shown in sorted(seen.items())
    }


def _means(found: _Stored, first: int, labels: Labels) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Return the mean colour and the mean of the compared values of each label."""
    extractor = found.extractor
    before = extractor.context_frames[0]
    frames = found.frames(first, first + len(labels), before)
    if frames is None:
        return {}, {}
    colours = np.stack([extractor.cells(frame) for frame in frames[before:]])
    return _mean(labels, colours), _mean(labels, extractor.values(frames))


def _mean(labels: Labels, values: npt.NDArray[np.float32]) -> dict[int, list[float]]:
    """Return the mean of (time, y, x, channel) values over each label."""
    flat = labels.ravel()
    counts = np.bincount(flat)
    sums = np.stack([np.bincount(flat, weights=channel.ravel()) for channel in np.moveaxis(values, -1, 0)], axis=1)
    return {int(label): (sums[label] / counts[label]).tolist() for label in np.flatnonzero(counts) if label}


def _overlaps(before: Labels | None, now: Labels) -> dict[int, dict[int, float]]:
    """Return label -> label of the window before -> intersection over union, across their border."""
    if before is None or not before.any():
        return {}
    past, width = before[0], int(now.max()) + 1
    both = np.bincount((past.astype(np.int64) * width + now).ravel(), minlength=(int(past.max()) + 1) * width)
    table = both.reshape(-1, width)
    shares = table / np.maximum(table.sum(axis=1)[:, None] + table.sum(axis=0)[None] - table, 1)
    found: dict[int, dict[int, float]] = {}
    for old, new in np.argwhere(shares[1:, 1:] >= LEAST_OVERLAP) + 1:
        found.setdefault(int(new), {})[int(old)] = float(shares[old, new])
    return found


def _to_source(job: Job, part: Part, box: tuple[int, int, int, int], seconds: float) -> list[float]:
    """Return a box of the frame grid in upright source pixels."""
    geometry = tracks.geometry_at(part.boxes, seconds, part.video, size=job.frames.size, fit=job.frames.fit)
    a, _, c, _, e, f = tracks.to_source(geometry)
    x, y, width, height = box
    return [a * x + c, e * y + f, a * width, e * height]


def _frame_seconds(job: Job, part: Part) -> float:
    rate = job.frames.fps or part.video.fps
    return float(1 / rate) if rate else 0.002
