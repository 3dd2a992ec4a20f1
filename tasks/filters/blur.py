"""`blur`: faces and given boxes made unrecognisable."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import cv2
import numpy as np
from pydantic import Field, model_validator

from patchlake.tasks import keys, tracks
from patchlake.tasks.corpus.annotations import read_boxes
from patchlake.tasks.filters.faces import Region, detector_of
from patchlake.tasks.filters.filter import FilterOptions, Scene
from patchlake.tasks.filters.memo import Memo
from patchlake.tasks.strict import LocalPath
from patchlake.tasks.types import BoxPath, FrameArray, Geometry

_SLACK_SECONDS = 0.05
"""Tolerance for rounded times in files: a box is present from this long before its first to after its last time."""


class BlurSpec(FilterOptions):
    """Faces and given boxes made unrecognisable."""

    kind: Literal["blur"]
    faces: Literal["lbp", "yunet"] | None = None
    """lbp: scikit-image's cascade of local binary patterns (frontal, upright faces); yunet: cv2.FaceDetectorYN."""
    model: LocalPath | None = None
    """The ONNX file of yunet; it is neither shipped nor downloaded."""
    boxes: LocalPath | None = None
    """Boxes to blur as well: CSV, JSON or Parquet in the format of `tracks` (`annotations.read_boxes`)."""
    how: Literal["gaussian", "pixels"] = "gaussian"
    strength: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Sigma of the Gaussian, or side of the pixels, as a share of the region's longer side."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.25
    """How much a found face is widened on each side, as a share of its size."""
    hold: Annotated[int, Field(ge=0, le=32)] = 5
    """Frames before and after a find in which a face stays covered, so that a single miss does not expose it."""
    least: Annotated[int, Field(ge=8)] = 24
    """Side of the smallest face to detect, in frame-grid pixels."""
    score: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Minimum confidence of a face found by yunet."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.faces is None and self.boxes is None:
            raise ValueError("got neither faces nor boxes, expected one at least, as {kind: blur, faces: lbp}")
        if (self.faces == "yunet") != (self.model is not None):
            raise ValueError(
                f"got faces: {self.faces} with model: {self.model}; expected `model: FILE.onnx` with `faces: yunet` "
                "(face_detection_yunet of the OpenCV model zoo), and with nothing else"
            )
        return self

    @property
    def hidden_boxes(self) -> str | None:
        """The file given by `boxes`."""
        return self.boxes


class Blur:
    """Regions of each frame replaced by a Gaussian blur of the frame, or by large pixels.

    Faces are detected in every frame; each stays covered for `hold` frames before and after it was found, widened by
    `margin`; overlapping covers are merged. Given boxes (upright source pixels, moving in a straight line between their
    times) are mapped to the frame grid like the track and rounded outwards; a box with times is present from its first
    to its last, one without times always. What is found depends on the detector: check the pictures in the report
    before relying on it.
    """

    version = 1
    hides = True

    def __init__(self, spec: BlurSpec, frame_size: tuple[int, int]) -> None:
        self._spec, self._size = spec, frame_size
        self._hold = spec.hold if spec.faces else 0
        self.context_frames = (self._hold, self._hold)
        self._detector = detector_of(spec, frame_size) if spec.faces else None
        self._faces = Memo(self._detector, most=64 + 4 * self._hold) if self._detector else None

    @property
    def digest_parts(self) -> dict[str, Any]:
        """Options, digest of the model, and content of the boxes file."""
        spec = self._spec
        parts: dict[str, Any] = {"how": spec.how, "strength": spec.strength}
        if self._detector is not None:
            parts |= spec.model_dump(include={"faces", "margin", "hold", "least"}) | self._detector.digest_parts
        if spec.boxes is not None:
            said = [[name, path.name, path.seconds, path.boxes] for name, path in read_boxes(spec.boxes)]
            parts["boxes"] = keys.digest("boxes", said)
        return parts

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        """Return (n, height, width, 3) frames for (hold + n + hold, height, width, 3)."""
        out = frames[self._hold : len(frames) - self._hold].copy()
        found = [[] if self._faces is None else self._faces(frame) for frame in frames]
        for i, frame in enumerate(out):
            faces = [face for near in found[i : i + 2 * self._hold + 1] for face in near]
            for region in [*self._given(scene, i + self._hold), *joined(self._widened(face) for face in faces)]:
                _cover(frame, region, self._spec)
        return out

    def _given(self, scene: Scene, i: int) -> list[Region]:
        """Return where the given boxes are in frame i."""
        at = float(scene.seconds[i])
        there = [path for file, path in scene.source.hidden if file == self._spec.boxes and _is_there(path, at)]
        if not there:
            return []
        geometry = scene.geometry(i)
        regions = (_on_grid(tracks.box_at(path, at), geometry) for path in there)
        return [region for region in regions if region is not None]

    def _widened(self, face: Region) -> Region:
        top, left, bottom, right = face
        by_y = math.ceil(self._spec.margin * (bottom - top))
        by_x = math.ceil(self._spec.margin * (right - left))
        height, width = self._size
        return max(0, top - by_y), max(0, left - by_x), min(height, bottom + by_y), min(width, right + by_x)


def _is_there(path: BoxPath, at: float) -> bool:
    return not path.seconds or path.seconds[0] - _SLACK_SECONDS <= at <= path.seconds[-1] + _SLACK_SECONDS


def _on_grid(box: tuple[float, float, float, float], geometry: Geometry) -> Region | None:
    """Return the frame-grid pixels that a box of source pixels touches; None if it lies outside the picture."""
    scale_x, _, x0, _, scale_y, y0 = tracks.to_source(geometry)
    x, y, width, height = box
    (pad_top, pad_left), (scaled_h, scaled_w) = geometry.pad, geometry.scaled
    left, right = (x - x0) / scale_x, (x + width - x0) / scale_x
    top, bottom = (y - y0) / scale_y, (y + height - y0) / scale_y
    region = (
        max(pad_top, math.floor(top)), max(pad_left, math.floor(left)),
        min(pad_top + scaled_h, math.ceil(bottom)), min(pad_left + scaled_w, math.ceil(right)),
    )  # fmt: skip
    return region if region[0] < region[2] and region[1] < region[3] else None


def joined(regions: Any) -> list[Region]:
    """Merge overlapping regions into bounding boxes until no two overlap; return them sorted."""
    apart: list[Region] = []
    for region in sorted(regions):
        one = region
        while touching := [other for other in apart if _overlap(one, other)]:
            apart = [other for other in apart if other not in touching]
            tops, lefts, bottoms, rights = zip(one, *touching, strict=True)
            one = min(tops), min(lefts), max(bottoms), max(rights)
        apart.append(one)
    return sorted(apart)


def _overlap(one: Region, other: Region) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _cover(frame: FrameArray, region: Region, spec: BlurSpec) -> None:
    """Make a region of a frame unrecognisable, in place."""
    top, left, bottom, right = region
    height, width = bottom - top, right - left
    size = spec.strength * max(height, width)
    if spec.how == "pixels":
        coarse = max(1, round(width / size)), max(1, round(height / size))
        small = cv2.resize(frame[top:bottom, left:right], coarse, interpolation=cv2.INTER_AREA)
        frame[top:bottom, left:right] = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        return
    sigma = max(1.0, size)
    reach = 2 * math.ceil(3 * sigma)  # more than half the kernel: same result as blurring the whole frame
    up, back = min(reach, top), min(reach, left)
    around = np.ascontiguousarray(frame[top - up : bottom + reach, left - back : right + reach])
    soft = cv2.GaussianBlur(around, (0, 0), sigma)
    frame[top:bottom, left:right] = soft[up : up + height, back : back + width]
