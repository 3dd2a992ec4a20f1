"""Frames through a network: bytes to the device, normalised there, run in batches, tokens back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from patchlake.tasks.errors import ModelError
from patchlake.tasks.features.deep.batching import Batches
from patchlake.tasks.features.deep.network import Network
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.types import FrameArray

_FIRST, _MOST = 4, 256
"""Images per batch if none is given; a clip counts as its frames. Only a GPU's batch grows: a CPU gains nothing."""
INTERPOLATION = "bilinear, antialiased, corners not aligned (torch.nn.functional.interpolate)"


class Forward:
    """A network run with its entry's options: device, compute type, pooling. It loads at the first call."""

    def __init__(self, network: Network, spec: HfSpec | HfClipSpec, *, dtype: str | None = None) -> None:
        """`dtype` of the result; by default the stored type."""
        self._network = network
        self._spec = spec
        self._dtype = dtype or spec.dtype
        self.shape = shape_of(network, spec.pooling)
        """Tokens in time, y, x of one input, after pooling."""

    def __call__(self, count: int, take: Callable[[int, int], FrameArray]) -> npt.NDArray[Any]:
        """Return (count, time, y, x, token).

        `take(start, stop)` gives inputs as (stop - start, T, height, width, 3) RGB bytes, of any height and width.
        """
        if not count:
            return np.empty((0, *self.shape, self._network.width), dtype=self._dtype)
        return np.concatenate(self._batches(count, lambda start, stop, size: self._run(take(start, stop), size)))

    @cached_property
    def _device(self) -> torch.device:
        if self._spec.device == "cuda" and not torch.cuda.is_available():
            raise ModelError(f"features.{self._spec.name}.device: got cuda, but this worker sees no GPU")
        return torch.device("cuda" if torch.cuda.is_available() and self._spec.device != "cpu" else "cpu")

    @cached_property
    def _batches(self) -> Batches:
        fixed = self._network.batch or self._spec.batch
        first, most = (max(1, n // self._network.frames) for n in (_FIRST, _MOST))
        if self._device.type == "cpu":
            most = first
        return Batches(
            first=fixed or first,
            most=fixed or most,
            what=f"features.{self._spec.name}",
            release=torch.cuda.empty_cache if self._device.type == "cuda" else lambda: None,
        )

    @cached_property
    def _model(self) -> Any:
        torch.set_num_threads(1)
        model = self._network.load()
        if self._device.type == "cuda" and self._spec.compute == "float32":
            torch.backends.cudnn.allow_tf32 = False  # TF32 keeps 10 of float32's 23 bits
        model = model.to(self._device)
        if not self._network.is_clip:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return torch.compile(model) if self._spec.compile else model

    def _run(self, inputs: FrameArray, size: int) -> npt.NDArray[Any]:
        """Return one batch's tokens; inputs are repeated to fill the batch."""
        size = self._network.batch or size
        x = torch.from_numpy(inputs if len(inputs) == size else np.resize(inputs, (size, *inputs.shape[1:])))
        kept = getattr(torch, self._spec.compute)
        with torch.inference_mode():
            x = self._prepared(x)
            with torch.autocast(self._device.type, dtype=kept, enabled=kept != torch.float32):
                tokens, vectors = self._model(x)
            found = _pooled(tokens, vectors, self._spec.pooling)[: len(inputs)]
            return np.asarray(found.to(getattr(torch, self._dtype)).cpu().numpy())

    def _prepared(self, x_BTHWC: Tensor) -> Tensor:
        """Return float32 inputs on the device: resized if the network needs another size, then normalised."""
        if self._device.type == "cuda":
            x_BTHWC = x_BTHWC.pin_memory()
        x = x_BTHWC.to(self._device, non_blocking=True).flatten(0, 1).permute(0, 3, 1, 2)  # strides: channels last
        x_NCHW = x.to(torch.float32, memory_format=torch.preserve_format)
        if tuple(x_NCHW.shape[-2:]) != self._network.input:
            x_NCHW = interpolate(x_NCHW, self._network.input, mode="bilinear", antialias=True, align_corners=False)
        norm = self._network.normalisation
        mean, std = (torch.tensor(v, device=self._device).view(1, 3, 1, 1) for v in (norm.mean, norm.std))
        x_NCHW = (x_NCHW * norm.scale - norm.shift - mean) / std
        return x_NCHW.reshape(*x_BTHWC.shape[:2], *x_NCHW.shape[1:]) if self._network.is_clip else x_NCHW


def shape_of(network: Network, pooling: str) -> tuple[int, int, int]:
    """Return the time, y, x of a network's tokens after pooling."""
    t, y, x = network.shape
    return {"none": (t, y, x), "time": (1, y, x), "tokens": (t, 1, 1), "clip": (1, 1, 1)}[pooling]


def _pooled(tokens_BTYXC: Tensor, vectors_BC: Tensor, pooling: str) -> Tensor:
    if pooling == "none":
        return tokens_BTYXC
    if pooling == "clip":
        return vectors_BC[:, None, None, None]
    axes = (1,) if pooling == "time" else (2, 3)
    return tokens_BTYXC.float().mean(dim=axes, keepdim=True)
