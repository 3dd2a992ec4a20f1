"""`shot_score`: difference of each frame from the one before, by PySceneDetect's detectors."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from scenedetect import (
    ContentDetector,
    FrameTimecode,
    HashDetector,
    HistogramDetector,
    SceneDetector,
    StatsManager,
    ThresholdDetector,
)

from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

_WEIGHTS = ContentDetector.Components(delta_hue=1.0, delta_sat=1.0, delta_lum=1.0, delta_edges=0.0)
_BINS, _HASH_SIZE, _LOWPASS = 128, 8, 2
"""PySceneDetect's defaults, written out so that another release gives the same bytes."""
_METRICS = {
    "content_val": ContentDetector.FRAME_SCORE_KEY,
    "delta_hue": "delta_hue",
    "delta_sat": "delta_sat",
    "delta_lum": "delta_lum",
    "hist_diff": f"hist_diff [bins={_BINS}]",
    "hash_dist": f"hash_dist [size={_HASH_SIZE} lowpass={_LOWPASS}]",
    "average_rgb": ThresholdDetector.THRESHOLD_VALUE_KEY,
}
"""Channel -> its name in PySceneDetect's statistics."""
_FPS = 25.0
"""Rate of the time codes that the detectors require; their scores don't depend on time."""


class ShotScoreSpec(FeatureOptions):
    """Frame differences by PySceneDetect's detectors, from which `shots` are cut; one row per frame."""

    kind: Literal["shot_score"]

    @property
    def time_stride(self) -> int:
        """One row per frame."""
        return 1


class ShotScore(FrameExtractor):
    """Scores of PySceneDetect's detectors with default options: one row per frame, one cell for the whole frame.

    A frame's scores need the frame before (context 1, 0); at a span's start the first frame is its own predecessor, so
    its scores are those of no change: 0, 0, 0, 0, 1, 0 and its own brightness. Channels:
    content_val                      mean of the next three: the score that ContentDetector thresholds
    delta_hue, delta_sat, delta_lum  mean absolute difference of the pixels' hue (0..179), saturation, value (0..255)
    hist_diff                        correlation of the two frames' luma histograms (128 bins), 1 where they are equal
    hash_dist                        share of the bits of an 8x8 perceptual hash that differ, 0..1
    average_rgb                      mean of this frame's pixels and colours, 0..255: dark in a fade

    delta_edges is left out: its default weight is 0, and it costs more than all the others together.
    Source: PySceneDetect (scenedetect.detectors); `patchlake.tasks.clips.segment` finds cuts in these scores.
    """

    version = 1
    channels: tuple[str, ...] = tuple(_METRICS)
    dtype: Literal["float16", "float32"] = "float32"
    time_size = 1
    time_stride = 1
    context_frames = (1, 0)
    needs_gpu = False

    def __init__(self, spec: ShotScoreSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        height, width = frame_size
        self.centres: tuple[tuple[float, ...], tuple[float, ...]] = ((height / 2,), (width / 2,))
        self.digest_parts: dict[str, Any] = {}
        self.attrs: dict[str, Any] = {
            "units": ["grey level"] * 4 + ["1", "1", "grey level"],
            "pooling": "the whole frame",
            "method": "PySceneDetect's detectors with default options, from the frame before to this one",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[np.float32]:
        """Return (n, 1, 1, 7) for (1 + n, height, width, 3) RGB frames, the first being context."""
        stats = StatsManager()
        detectors: tuple[SceneDetector, ...] = (
            _Content(weights=_WEIGHTS),
            HistogramDetector(bins=_BINS),
            HashDetector(size=_HASH_SIZE, lowpass=_LOWPASS),
            ThresholdDetector(),
        )
        for detector in detectors:
            detector.stats_manager = stats
        for i, frame in enumerate(frames):
            time, bgr = FrameTimecode(i, fps=_FPS), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            for detector in detectors:
                detector.process_frame(time, bgr)
        rows = [stats.get_metrics(i, _METRICS.values()) for i in range(1, len(frames))]
        return np.array(rows, dtype=np.float32).reshape(-1, 1, 1, len(_METRICS))


class _Content(ContentDetector):  # type: ignore[misc]
    """ContentDetector without edges, which it computes for the statistics even if their weight is 0."""

    def _detect_edges(self, lum: npt.NDArray[np.uint8]) -> None:
        return None
