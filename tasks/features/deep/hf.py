"""`hf`: tokens of any pretrained image network, frame by frame; or one vector for each patch of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.deep.crops import Crops
from patchlake.tasks.features.deep.forward import INTERPOLATION, Forward
from patchlake.tasks.features.deep.inputs import Windows, through
from patchlake.tasks.features.deep.network import Network
from patchlake.tasks.features.deep.opening import open_network
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.features.extractor import Cells, FrameExtractor
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

Centres = tuple[tuple[float, ...], tuple[float, ...]]


class HuggingFace(FrameExtractor):
    """Last hidden states of an image network as a (y, x) grid over the frame, one row every `every` frames.

    Frames are resized to the network's input size if it has a fixed one (bilinear, antialiased), else used as they are,
    and normalised by the constants of its processor, else ImageNet's. Class and register tokens, which have no place
    in the frame, are left out. `pool: tokens` is the grid's mean, `pool: clip` the network's own vector of the whole
    input: one cell, the frame. With `crops`, rows follow the patch grid in time: each patch is cropped, resized and put
    through the network, every `every`-th frame of it, and the mean of these vectors is kept. Weights come from
    `weights.find`; they are never random. A cell's centre is the centre of its receptive field (`places`).

    Source: transformers AutoModel, `last_hidden_state` (the maps of the last stage for convolutional networks).
    """

    version = 3
    context_frames = (0, 0)
    together = True

    def __init__(self, spec: HfSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        network = open_network(spec, frame_size)
        self._every = spec.every
        self._crops: Crops | None = None
        self._forward = Forward(network, spec, dtype=None if spec.crops is None else "float32")
        if spec.crops is not None:
            grid = spec.crops.grid(patches)
            self._crops = Crops(grid, frame_size, [[t] for t in range(0, grid.size[0], spec.every)])
            self.time_size, self.time_stride, self.centres = grid.size[0], grid.stride[0], self._crops.centres
        else:
            self.time_size, self.time_stride, self.centres = 1, spec.every, centres_of(network, spec, frame_size)
        self.dtype = spec.dtype
        self.channels = tuple(f"token_{i}" for i in range(network.width))
        self.needs_gpu = spec.device == "cuda"
        self.wants_gpu = spec.device != "cpu"
        self.digest_parts = {**digest_parts(network, spec), "every": spec.every}
        self.attrs = attrs_of(network, spec)

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return (rows, y, x, token) for (n, height, width, 3) RGB frames."""
        return self.compute([Cells(frames)])[0]

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        """Return (rows, y, x, token) for each piece; the network sees their frames in common batches."""
        if self._crops is None:
            windows = [self._windows(piece.frames) for piece in pieces]
            return [found[:, 0] for found in through(self._forward, windows)]
        crops = [self._crops.of(piece.frames) for piece in pieces]
        return [
            np.asarray(found.reshape(*part.shape, len(self.channels)).mean(axis=1).astype(self.dtype))
            for part, found in zip(crops, through(self._forward, crops), strict=True)
        ]

    def _windows(self, frames: FrameArray) -> Windows:
        return Windows(frames, np.arange(0, len(frames), self._every), np.zeros(1, int))


def centres_of(network: Network, spec: HfSpec | HfClipSpec, frame_size: tuple[int, int]) -> Centres:
    """Return the y and x of the cells in frame-grid pixels; the frame's middle if one cell covers all of it."""
    if spec.pooling in ("tokens", "clip"):
        return (frame_size[0] / 2,), (frame_size[1] / 2,)
    y, x = (
        network.places[axis + 1].centres(network.shape[axis + 1], scale=frame_size[axis] / network.input[axis])
        for axis in (0, 1)
    )
    return y, x


def digest_parts(network: Network, spec: HfSpec | HfClipSpec) -> dict[str, Any]:
    """Return what determines the bytes: network, inputs, pooling; not the device or the batch size."""
    return {**network.digest_parts, "pool": spec.pooling, "compute": spec.compute, "crops": spec.crops is not None}


def attrs_of(network: Network, spec: HfSpec | HfClipSpec) -> dict[str, Any]:
    """Return the array's attributes about the network and how it was run."""
    kept = {
        "none": "none: one token per cell",
        "time": "mean over the window's tubelets",
        "tokens": "mean over the tokens of a frame or tubelet",
        "clip": f"one vector: {network.vector}",
    }
    return {
        "units": "1",
        "model": spec.path,
        "model_digest": network.weights.digest,
        "model_type": network.kind,
        "input_size": list(network.input),
        "input_frames": network.frames,
        "interpolation": INTERPOLATION,
        "mean": list(network.normalisation.mean),
        "std": list(network.normalisation.std),
        "pooling": kept[spec.pooling],
        "crops": spec.crops is not None,
        "compute": spec.compute,
        "device": spec.device,
        "batch": network.batch or spec.batch or "auto",
        "compile": spec.compile,
    }
