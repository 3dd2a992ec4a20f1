"""An extractor: the mean of 8 frames, and an offset."""

from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.extractor import FeatureOptions, FrameExtractor
from patchlake.tasks.types import FrameArray


class Options(FeatureOptions):
    offset: float = 0.0


class Brightness(FrameExtractor):
    Options = Options
    version, channels, dtype = 1, ("mean",), "float32"
    time_size = time_stride = 8
    context_frames, needs_gpu = (0, 0), False

    def __init__(self, options: Options, **context: Any) -> None:
        height, width = context["frame_size"]
        self.centres = ((height / 2,), (width / 2,))
        self.digest_parts, self.attrs = {"offset": options.offset}, {"units": "grey levels"}

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        means = frames[: len(frames) // 8 * 8].reshape(-1, 8 * frames[0].size).mean(axis=1, dtype=np.float64)
        return (means + self.digest_parts["offset"]).astype(np.float32)[:, None, None, None]
