"""Where the cells of a convolutional network's maps lie in its input: the centres of their receptive fields.

A map of 7 x 7 cells over 224 pixels need not have cell 0 at pixel 16: a convolution of kernel 3, stride 2 and padding
1 has its cell i around input pixel 2 i, so the cells of a ResNet lie at 32 i + 0.5, those of a ConvNeXt (kernel =
stride, no padding) at 32 i + 16, those of a MobileNet (TensorFlow's padding, after the image) at 32 i + 31.5.

Source: W. Luo et al., NeurIPS 2016; A. Araujo et al., Distill 2019, "Computing Receptive Fields" (eq. 3, 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Place(NamedTuple):
    """Cells along one axis: the centre of cell i is at `first + i * step`, where that of pixel or frame k is at k."""

    first: float
    step: float

    def centres(self, count: int, *, scale: float) -> tuple[float, ...]:
        """Return the centres of `count` cells times `scale`, in coordinates where pixel k covers [k, k + 1)."""
        return tuple((self.first + i * self.step + 0.5) * scale for i in range(count))


def tiles(length: float) -> Place:
    """Return the place of cells that lie edge to edge, `length` pixels or frames each."""
    return Place((length - 1) / 2, length)


class _Step(NamedTuple):
    """A convolution or pooling along one axis."""

    before: int
    """Length of the input axis, including explicit padding."""
    after: int
    kernel: int
    stride: int
    padding: int
    dilation: int


class _Pad(NamedTuple):
    """Zero padding of one axis as an operation of its own."""

    before: int
    after: int
    left: int


@dataclass
class Watch:
    """Records the convolutions, poolings and paddings of everything that runs inside `with watch.on():`."""

    axes: int
    """2: y, x; 3: time, y, x."""
    steps: list[list[_Step]] = field(default_factory=list)
    pads: list[list[_Pad]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start empty."""
        self.steps, self.pads = [[] for _ in range(self.axes)], [[] for _ in range(self.axes)]

    def on(self) -> TorchDispatchMode:
        """Return the context to run the network in."""
        return _Mode(self)

    def place(self, axis: int, extent: int, cells: int) -> Place:
        """Return where `cells` cells lie on an axis of `extent` pixels or frames.

        Of parallel branches the one with the larger kernel is followed. If the operations can't be traced, the cells
        are assumed to tile the axis.
        """
        first, jump, length = 0.0, 1, extent
        while length > cells:
            found = [(step, left) for step, left in self._leaving(axis, length) if step.after < length]
            if not found:
                return tiles(extent / cells)
            step, left = max(found, key=lambda pair: pair[0].kernel)
            first += jump * ((step.kernel - 1) * step.dilation / 2 - step.padding - left)
            jump *= step.stride
            length = step.after
        return Place(first, jump) if length == cells else tiles(extent / cells)

    def _leaving(self, axis: int, length: int) -> list[tuple[_Step, int]]:
        """Return the steps that take an axis of this length, each with the zeros padded before it separately."""
        lefts = {length: 0} | {pad.after: pad.left for pad in self.pads[axis] if pad.before == length}
        return [(step, lefts[step.before]) for step in self.steps[axis] if step.before in lefts]

    def note(self, name: str, args: Sequence[Any], result: Any) -> None:
        """Record one ATen operation."""
        if name == "constant_pad_nd":
            self._note_pad(args[0].shape, args[1])
            return
        x, out = args[0].shape, (result[0] if isinstance(result, tuple) else result).shape
        if len(x) != self.axes + 2 or len(out) != len(x):
            return
        if name == "convolution":
            kernel, (stride, padding, dilation) = args[1].shape[2:], args[3:6]
        else:
            kernel = args[1]
            defaults: list[Any] = [[], 0, 1]
            stride, padding, dilation = [*args[2:5], *defaults[len(args[2:5]) :]]
            dilation = 1 if name.startswith("avg") else dilation  # this argument of avg_pool is ceil_mode
        sides = [_spread(value, self.axes) for value in (kernel, stride or kernel, padding, dilation)]
        for axis in range(self.axes):
            k, s, p, d = (side[axis] for side in sides)
            self.steps[axis].append(_Step(int(x[axis + 2]), int(out[axis + 2]), k, s, p, d))

    def _note_pad(self, shape: Sequence[int], widths: Sequence[int]) -> None:
        if len(shape) != self.axes + 2:
            return
        for axis in range(self.axes):
            at = 2 * (self.axes - 1 - axis)  # pairs of (left, right) from the last axis on
            left, right = widths[at : at + 2] if at < len(widths) else (0, 0)
            length = int(shape[axis + 2])
            if left + right > 0:
                self.pads[axis].append(_Pad(length, length + left + right, left))


_WATCHED = (
    "convolution", "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices",
    "avg_pool2d", "avg_pool3d", "constant_pad_nd",
)  # fmt: skip


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _WATCHED:
            self._watch.note(name, args, result)
        return result


def _spread(value: Any, axes: int) -> list[int]:
    """Return one number per axis."""
    values = [int(v) for v in value] if isinstance(value, list | tuple | torch.Size) else [int(value)]
    return values * axes if len(values) == 1 else values
