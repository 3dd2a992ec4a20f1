"""Networks saved by torch.export: any architecture in one file, without its Python code."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from patchlake.tasks.features.deep.network import Network, Size, Tokens, normalisation_of
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.features.deep.receptive_fields import Place, Watch, tiles
from patchlake.tasks.features.deep.weights import Weights

_CONTRACT = (
    "expected one float input of frames (B, 3, y, x) or clips (B, T, 3, y, x) and one output of vectors (B, C), "
    "maps (B, C, y, x) or clip maps (B, C, T, y, x); have its forward take and return these, and export it again"
)


class _Exported(Tokens):
    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program
        self.graph: nn.Module = program.module()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.graph(x)
        out = out[0] if isinstance(out, list | tuple) else out
        tokens = _as_tokens(out)
        return tokens, tokens.float().mean(dim=(1, 2, 3))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the graph to the target device, too, since the graph itself names devices."""
        from torch.export.passes import move_to_device_pass

        device = fn(torch.zeros(())).device
        if device.type != "cpu":
            self.graph = move_to_device_pass(self.program, str(device)).module()
        return self


def open_exported(weights: Weights, spec: HfSpec | HfClipSpec, frame_size: Size) -> Network:
    """Return the description of an exported network, from its graph."""
    program = _read(weights)
    inputs = [n.meta["val"].shape for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or len(inputs[0]) not in (4, 5) or inputs[0][-3] != 3:
        raise weights.error(f"its inputs have the shapes {[tuple(i) for i in inputs]}; {_CONTRACT}")
    batch, *clip, _, height, width = (int(n) if isinstance(n, int) else None for n in inputs[0])
    size = spec.input or (height or frame_size[0], width or frame_size[1])
    frames = int(clip[0] or getattr(spec, "frames", None) or 16) if clip else 1
    watch, x = Watch(axes=2 + len(clip)), torch.zeros(batch or 2, *([frames] if clip else []), 3, *size)
    try:
        with torch.no_grad(), watch.on():
            out = program.module()(x)
        out = out[0] if isinstance(out, list | tuple) else out
        tokens = _as_tokens(out)
    except Exception as error:
        raise weights.error(f"it does not run on an input of {tuple(x.shape)} ({error}); {_CONTRACT}") from error
    shape = (tokens.shape[1], tokens.shape[2], tokens.shape[3])
    extents = (frames, *size)
    return Network(
        weights=weights,
        kind="torch.export",
        is_clip=bool(clip),
        frames=frames,
        step=1,
        input=size,
        normalisation=normalisation_of(spec, {}),
        shape=shape,
        places=_places(watch, extents, shape, is_vector=out.ndim == 2),
        width=tokens.shape[4],
        vector="the network's output" if out.ndim == 2 else "the mean of all tokens",
        load=partial(_load, weights),
        batch=batch,
    )


def _places(
    watch: Watch, extents: tuple[int, int, int], shape: tuple[int, int, int], *, is_vector: bool
) -> tuple[Place, Place, Place]:
    """Return where the cells lie; the single cell of a vector is the whole input."""
    whole = [tiles(extent / cells) for extent, cells in zip(extents, shape, strict=True)]
    found = [
        tiles(extents[axis] / shape[axis])
        if is_vector
        else watch.place(axis - 3 + watch.axes, extents[axis], shape[axis])
        for axis in range(3 - watch.axes, 3)
    ]
    t, y, x = [*whole[: 3 - watch.axes], *found]
    return t, y, x


def _as_tokens(out: Any) -> Tensor:
    """Return (B, T, y, x, C) of vectors (B, C), maps (B, C, y, x) or clip maps (B, C, T, y, x)."""
    if not isinstance(out, Tensor) or out.ndim not in (2, 4, 5):
        raise ValueError(f"its output has the shape {tuple(getattr(out, 'shape', ()))}")
    while out.ndim < 5:
        out = out.unsqueeze(2)
    tokens: Tensor = out.movedim(1, -1)
    return tokens


def _read(weights: Weights) -> Any:
    try:
        return torch.export.load(weights.path)
    except Exception as error:
        raise weights.error(f"can't be read: {error}; expected a file that torch.export.save has made") from error


def _load(weights: Weights) -> Tokens:
    return _Exported(_read(weights))
