"""Image and clip backbones of the transformers library: last hidden states, laid out as a grid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from patchlake.tasks.features.deep.network import Network, Size, Tokens, normalisation_of
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.features.deep.receptive_fields import Place, Watch, tiles
from patchlake.tasks.features.deep.weights import Weights

_POOLERS = ("pooler", "head")
"""Parts of a vision model used only for its pooled vector; a checkpoint may lack them."""
_UNUSED = ("text_model", "text_projection", "visual_projection", "logit_", "predictor")
_MOST_EXTRA = 2
"""Class and distillation tokens before the grid; register tokens come in addition."""


@dataclass(frozen=True)
class _Layout:
    """How a backbone's output is read."""

    shape: tuple[int, int, int]
    extra: int
    """Tokens before the grid."""
    is_time_last: bool
    """Whether tokens are ordered y, x, time (TimeSformer) instead of time, y, x."""
    vector: str


_POOLER, _CLASS, _MEAN = "the network's pooler output", "the class token", "the mean of all tokens"


class _Backbone(Tokens):
    def __init__(self, model: nn.Module, layout: _Layout) -> None:
        super().__init__()
        self.model = model
        self._layout = layout

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.model(x)
        hidden, layout = out.last_hidden_state, self._layout
        if hidden.ndim == 4:
            tokens = hidden.permute(0, 2, 3, 1).unsqueeze(1)
        else:
            t, y, x_ = layout.shape
            grid = hidden[:, layout.extra :]
            if layout.is_time_last:
                tokens = grid.unflatten(1, (y, x_, t)).permute(0, 3, 1, 2, 4)
            else:
                tokens = grid.unflatten(1, (t, y, x_))
        if layout.vector == _POOLER:
            return tokens, out.pooler_output.flatten(1)
        return tokens, hidden[:, 0] if layout.vector == _CLASS else tokens.float().mean(dim=(1, 2, 3))


def open_backbone(weights: Weights, spec: HfSpec | HfClipSpec, frame_size: Size) -> Network:
    """Return the description of a saved backbone, from its architecture alone: no weights, no memory."""
    config = weights.config
    vision = config.get("vision_config", config)
    length = vision.get("num_frames") or vision.get("frames_per_clip")
    is_clip = length is not None
    frames = int((getattr(spec, "frames", None) or length) if is_clip else 1)
    processor = weights.processor
    skeleton, problem = None, None
    sizes = [spec.input] if spec.input else _sizes(vision, processor, frame_size)
    for size in dict.fromkeys(sizes):
        try:
            skeleton = _Skeleton.run(weights, size, frames if is_clip else None)
            break
        except Exception as error:
            problem = problem or error
    if skeleton is None:
        expected = f"clips of {frames} frames" if is_clip else "frames"
        raise weights.error(f"expected a vision backbone that takes {expected} of {sizes}: {problem}") from problem
    if skeleton.hidden.ndim == 4 and not spec.input:
        size = frame_size
        if spec.crops is not None:
            size = _processor_size(processor, short=True) or _size_of(vision.get("image_size")) or frame_size
        skeleton = _Skeleton.run(weights, size, None)
    layout, places, width = _read(weights, skeleton, vision, frames)
    return Network(
        weights=weights,
        kind=str(config.get("model_type")),
        is_clip=is_clip,
        frames=frames,
        step=1,
        input=skeleton.size,
        normalisation=normalisation_of(spec, processor),
        shape=layout.shape,
        places=places,
        width=width,
        vector=layout.vector,
        load=partial(_load, weights, layout, needs_pooler=spec.pooling == "clip" and layout.vector == _POOLER),
    )


@dataclass(frozen=True)
class _Skeleton:
    """A backbone without weights, and its output for an empty input."""

    size: Size
    model: Any
    hidden: Tensor
    pooled: Tensor | None
    watch: Watch

    @classmethod
    def run(cls, weights: Weights, size: Size, frames: int | None) -> _Skeleton:
        from transformers import AutoConfig, AutoModel

        with torch.device("meta"), _quiet():
            config = AutoConfig.from_pretrained(weights.folder, local_files_only=True)
            model = _vision_part(AutoModel.from_config(config)).eval()  # type: ignore[no-untyped-call]
            watch = Watch(axes=2)
            with torch.no_grad(), watch.on():
                out = model(torch.empty(1, *([frames] if frames else []), 3, *size))
        return cls(size, model, out.last_hidden_state, getattr(out, "pooler_output", None), watch)


def _read(
    weights: Weights, skeleton: _Skeleton, vision: dict[str, Any], frames: int
) -> tuple[_Layout, tuple[Place, Place, Place], int]:
    """Return how to read the backbone's output, where its tokens lie, and their width."""
    hidden, (height, width) = skeleton.hidden, skeleton.size
    if hidden.ndim == 4:
        rows, columns, channels, extra = *hidden.shape[2:], hidden.shape[1], 0
        vertical = skeleton.watch.place(0, height, rows)
        layout = _Layout((1, rows, columns), 0, False, _POOLER if skeleton.pooled is not None else _MEAN)
        return layout, (tiles(1), vertical, skeleton.watch.place(1, width, columns)), channels
    tubelet = vision.get("tubelet_size") or 1
    tubelet, *sides = tubelet if isinstance(tubelet, list | tuple) else [tubelet]
    patch = _size_of(sides or vision.get("patch_size"))
    if patch is None or hidden.ndim != 3:
        raise weights.error(f"its tokens have the shape {tuple(hidden.shape)}, expected a grid of patches")
    if len(depths := vision.get("depths") or []) > 1:  # each stage after the first halves the grid
        patch = (patch[0] * 2 ** (len(depths) - 1), patch[1] * 2 ** (len(depths) - 1))
    shape = (frames // tubelet, height // patch[0], width // patch[1])
    extra = hidden.shape[1] - math.prod(shape)
    if not 0 <= extra <= _MOST_EXTRA + int(vision.get("num_register_tokens") or 0):
        raise weights.error(
            f"it gives {hidden.shape[1]} tokens for {height} x {width} pixels in {frames} frames, expected a grid of "
            f"{math.prod(shape)} and a few before it; only backbones that keep every patch's token can be used"
        )
    vector = _CLASS if extra else _MEAN
    if skeleton.pooled is not None and _has(weights, skeleton.model):
        vector = _POOLER
    layout = _Layout(shape, extra, vision.get("model_type") == "timesformer", vector)
    return layout, (tiles(tubelet), tiles(patch[0]), tiles(patch[1])), hidden.shape[2]


def _has(weights: Weights, model: nn.Module) -> bool:
    """Return whether the checkpoint holds the weights of the model's pooler; True if the pooler has none."""
    wanted = [name for name, _ in model.named_parameters() if name.startswith(_POOLERS)]
    saved = weights.names() if wanted else set()
    return all(any(name == wish or name.endswith("." + wish) for name in saved) for wish in wanted)


def _load(weights: Weights, layout: _Layout, *, needs_pooler: bool) -> Tokens:
    from transformers import AutoModel

    try:
        with _quiet():
            model, info = AutoModel.from_pretrained(
                weights.folder, output_loading_info=True, local_files_only=True, dtype=torch.float32
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise weights.error(f"the weights can't be loaded: {error}") from error
    unused = _UNUSED if needs_pooler else (*_UNUSED, *_POOLERS, *(f"vision_model.{part}" for part in _POOLERS))
    missing = [name for name in info["missing_keys"] if not name.startswith(unused)]
    if missing or info["mismatched_keys"]:
        raise weights.error(
            f"{len(missing)} weights are missing from the checkpoint ({', '.join(sorted(missing)[:3])}, ...), "
            f"{len(info['mismatched_keys'])} have another shape; "
            "expected a complete model, random weights are never used"
        )
    return _Backbone(_vision_part(model.eval()), layout)


def _vision_part(model: Any) -> Any:
    """Return the vision part: the vision tower of CLIP and SigLIP, the encoder of V-JEPA 2, else the model itself."""
    if hasattr(model, "vision_model"):
        return model.vision_model
    return model.encoder if model.config.model_type == "vjepa2" else model


def _sizes(vision: dict[str, Any], processor: dict[str, Any], frame_size: Size) -> list[Size]:
    """Return the input sizes to try: the processor's, then the architecture's; if it takes any size, the frames'."""
    own = _size_of(vision.get("image_size") or vision.get("crop_size"))
    found = [_processor_size(processor, short=False) if own else None, own]
    return [size for size in found if size] or [frame_size]


def _processor_size(processor: dict[str, Any], *, short: bool) -> Size | None:
    """Return the height, width that a saved processor produces; `short`: accept a square of the shortest edge."""
    sizes = [processor.get("crop_size")] if processor.get("do_center_crop", True) else []
    for size in (*sizes, processor.get("size")):
        if isinstance(size, dict):
            if short and "shortest_edge" in size:
                size = [size["shortest_edge"]] * 2
            else:
                size = [size["height"], size["width"]] if "height" in size else None
        if size:
            return _size_of(size)
    return None


def _size_of(value: Any) -> Size | None:
    if not value:
        return None
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
