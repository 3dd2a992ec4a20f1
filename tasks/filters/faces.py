"""Face detectors of `blur`, one class each."""

from __future__ import annotations

import hashlib
import math
import os
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.types import FrameArray

if TYPE_CHECKING:
    from patchlake.tasks.filters.blur import BlurSpec

Region = tuple[int, int, int, int]
"""top, left, bottom, right in frame-grid pixels: rows [top, bottom), columns [left, right)."""


class Detector(Protocol):
    """Finds faces in one frame."""

    digest_parts: dict[str, Any]

    def __call__(self, frame: FrameArray) -> list[Region]:
        """Return the faces that lie at least partly inside a (height, width, 3) RGB frame."""


def detector_of(spec: BlurSpec, frame_size: tuple[int, int]) -> Detector:
    """Return the detector that a recipe names."""
    return Lbp(spec, frame_size) if spec.faces == "lbp" else YuNet(spec, frame_size)


class Lbp:
    """scikit-image's cascade of local binary patterns: upright frontal faces, nothing to download.

    It misses many faces, especially turned ones, and is slow (60 ms for a frame of 224x224). Scales are 1.2 apart, and
    two overlapping hits make a face: better one face too many than one too few.

    Source: S. Liao et al., ICB 2007; skimage.feature.Cascade.
    """

    def __init__(self, spec: BlurSpec, frame_size: tuple[int, int]) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        file: str = lbp_frontal_face_cascade_filename()  # type: ignore[no-untyped-call]
        self._cascade = Cascade(file)
        self._least, self._most = min(spec.least, *frame_size), min(frame_size)
        self.digest_parts: dict[str, Any] = {"cascade": file_digest(file)}

    def __call__(self, frame: FrameArray) -> list[Region]:
        """Return the faces found."""
        found = self._cascade.detect_multi_scale(
            img=frame, scale_factor=1.2, step_ratio=1, min_neighbor_number=2,
            min_size=(self._least, self._least), max_size=(self._most, self._most),
        )  # fmt: skip
        return sorted((f["r"], f["c"], f["r"] + f["height"], f["c"] + f["width"]) for f in found)


class YuNet:
    """cv2.FaceDetectorYN with the user's ONNX file: also finds small and turned faces, a few ms per frame.

    Source: W. Wu et al., Machine Intelligence Research 2023.
    """

    def __init__(self, spec: BlurSpec, frame_size: tuple[int, int]) -> None:
        file = spec.model or ""
        if not os.path.isfile(file):
            raise RecipeError(
                f"frames.filters: blur: got model {file!r}, expected an ONNX file that every worker can read; "
                "get face_detection_yunet_2023mar.onnx from the OpenCV model zoo, or use `faces: lbp`"
            )
        height, width = frame_size
        try:
            self._detector = cv2.FaceDetectorYN.create(file, "", (width, height), spec.score)
        except cv2.error as error:
            raise RecipeError(
                f"frames.filters: blur: {file} can't be read as ONNX: {error.err}; expected a YuNet model"
            ) from error
        self._size = frame_size
        self._least = spec.least
        self.digest_parts: dict[str, Any] = {"score": spec.score, "model": file_digest(file)}

    def __call__(self, frame: FrameArray) -> list[Region]:
        """Return the faces found."""
        _, found = self._detector.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        height, width = self._size
        regions = []
        for x, y, w, h in (np.empty((0, 4)) if found is None else found[:, :4]).tolist():
            top, bottom = max(0, math.floor(y)), min(height, math.ceil(y + h))
            left, right = max(0, math.floor(x)), min(width, math.ceil(x + w))
            if min(w, h) >= self._least and top < bottom and left < right:
                regions.append((top, left, bottom, right))
        return sorted(regions)


def file_digest(path: str) -> str:
    """Return 32 hex digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
