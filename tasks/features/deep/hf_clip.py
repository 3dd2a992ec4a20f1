"""`hf_clip`: tokens of any pretrained clip network, window by window; or one vector for each patch of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import ModelError, RecipeError
from patchlake.tasks.features.deep.crops import Crops
from patchlake.tasks.features.deep.forward import Forward
from patchlake.tasks.features.deep.hf import attrs_of, centres_of, digest_parts
from patchlake.tasks.features.deep.inputs import Windows, through
from patchlake.tasks.features.deep.network import Network
from patchlake.tasks.features.deep.opening import open_network
from patchlake.tasks.features.deep.options import HfClipSpec
from patchlake.tasks.features.extractor import Cells, FrameExtractor
from patchlake.tasks.grid import LEAD_FRAMES, Grid
from patchlake.tasks.types import FrameArray


class HuggingFaceClip(FrameExtractor):
    """Last hidden states of a clip network, which sees windows of `frames` frames, `step` apart, from a span's start.

    A row is a tubelet, i.e. the frames that one layer of tokens comes from, and its time is their middle; its tokens
    depend on the whole window. Windows then touch, so each frame lies in one tubelet, and frames at a span's end that
    fill no window have no tokens. With `pool: time` or `clip` a row is a window, one every `every` frames; windows may
    overlap or leave frames out. A network whose tokens lie at single frames (this project's own: padded convolutions)
    has rows of one frame; their window ends later, and past a span's end its last frame is repeated. With `crops`,
    each patch of the grid is cropped, resized and put through the network: `frames` of its frames, evenly spaced.
    Inputs, weights and centres are those of `hf`.

    Source: transformers AutoModel, `last_hidden_state`.
    """

    version = 2
    together = True

    def __init__(self, spec: HfClipSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        network = open_network(spec, frame_size)
        step = spec.step or network.step
        self._forward = Forward(network, spec)
        self._crops: Crops | None = None
        self._times = step * np.arange(network.frames)
        self.window_rows, self.context_frames = 1, (0, 0)
        if spec.crops is not None:
            grid = spec.crops.grid(patches)
            self._crops = Crops(grid, frame_size, [_spread(network.frames, grid.size[0])])
            self.time_size, self.time_stride, self.centres = grid.size[0], grid.stride[0], self._crops.centres
        else:
            self.centres = centres_of(network, spec, frame_size)
            self._arrange(network, spec, step)
        self.dtype = spec.dtype
        self.channels = tuple(f"token_{i}" for i in range(network.width))
        self.needs_gpu = spec.device == "cuda"
        self.wants_gpu = spec.device != "cpu"
        self.digest_parts = {**digest_parts(network, spec), "step": step, "window_rows": self.window_rows}
        self.attrs = {**attrs_of(network, spec), "input_step": step}

    def _arrange(self, network: Network, spec: HfClipSpec, step: int) -> None:
        """Set the sizes and strides of windows and rows."""
        length, reach = network.frames * step, int(self._times[-1]) + 1
        self.time_size, self.time_stride = reach, spec.every
        if spec.pooling in ("none", "tokens"):
            if spec.every != length:
                raise RecipeError(
                    f"features.{spec.name}.every: got {spec.every}, expected {length}, the {network.frames} frames of "
                    f"a window at a step of {step}: where time is kept, windows touch; or use `pool: time` or `clip`"
                )
            self.window_rows = network.shape[0]
            place, self.time_stride = network.places[0], length // self.window_rows
            if place.step * step != self.time_stride:
                raise ModelError(
                    f"features.{spec.name}.path: {spec.path}: its {self.window_rows} token times do not divide its "
                    f"{network.frames} frames; use `pool: time` or `clip`"
                )
            self.time_size = round(2 * place.first * step) + 1
            rest = reach - (self.window_rows - 1) * self.time_stride - self.time_size
            self.context_frames = (0, max(0, rest))
        if reach - spec.every > LEAD_FRAMES:
            raise RecipeError(
                f"features.{spec.name}.every: got {spec.every}, expected at least {reach - LEAD_FRAMES}: a window of "
                f"{reach} frames may reach {LEAD_FRAMES} into the next"
            )

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return (rows, y, x, token) for (n, height, width, 3) RGB frames; those after the last row are context."""
        return self.compute([Cells(frames)])[0]

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return (rows, y, x, token) for each piece; the network sees their frames in common batches."""
        if self._crops is not None:
            crops = [self._crops.of(piece.frames) for piece in pieces]
            return [
                found.reshape(part.shape[0], *part.shape[2:], len(self.channels))
                for part, found in zip(crops, through(self._forward, crops), strict=True)
            ]
        found = through(self._forward, [self._windows(piece.frames) for piece in pieces])
        return [tokens.reshape(-1, *tokens.shape[2:]) for tokens in found]

    def _windows(self, frames: FrameArray) -> Windows:
        every, reach = self.window_rows * self.time_stride, int(self._times[-1]) + 1
        count = max(0, (len(frames) - reach) // every + 1)
        return Windows(frames, every * np.arange(count), self._times)


def _spread(count: int, length: int) -> list[int]:
    """Return the frames in the middles of `count` equal parts of `length` frames; all frames if count = length."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]
