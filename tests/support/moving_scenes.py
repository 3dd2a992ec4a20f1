"""Synthetic scenes with objects of known shapes, colours and paths on a texture, and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import reference_features as loops

Frames = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
SIZE = (224, 320)
"""height, width of the frame grid."""


@dataclass(frozen=True)
class Body:
    """A shape of one colour; `x` and `y` are its centre at frame 0, `dx`, `dy` its steps in pixels per frame."""

    shape: str
    colour: tuple[int, int, int]
    radius: float
    y: float
    x: float
    dy: float
    dx: float

    def centre(self, i: int) -> tuple[float, float]:
        """Return y, x of the centre at a frame, in pixels."""
        return self.y + self.dy * i, self.x + self.dx * i

    def mask(self, i: int, size: tuple[int, int]) -> Masks:
        """Return which pixels, by their centres, lie in the body at a frame."""
        y, x = (axis + 0.5 - at for axis, at in zip(np.ogrid[: size[0], : size[1]], self.centre(i), strict=True))
        inside: Masks = {
            "disc": y**2 + x**2 < self.radius**2,
            "box": (abs(y) < 0.7 * self.radius) & (abs(x) < 1.3 * self.radius),
            "octagon": (np.maximum(abs(y), abs(x)) < self.radius) & (abs(y) + abs(x) < 1.4 * self.radius),
        }[self.shape]
        return inside


BODIES = (
    Body("disc", (210, 60, 50), 32, 42, 50, 0.05, 2.0),
    Body("box", (30, 50, 160), 34, 188, 260, -0.1, -1.75),
    Body("octagon", (230, 200, 60), 32, 112, 140, 0.0, -1.25),
)
"""In 60 frames none leaves the frame or meets another."""
FACTOR = 2
"""Films are larger than SIZE, in which bodies are told, by so much: the frame grid scales them down."""


def enlarged(body: Body) -> Body:
    """Return a body in a film's own pixels."""
    names = ("radius", "y", "x", "dy", "dx")
    return replace(body, **{name: getattr(body, name) * FACTOR for name in names})


def film(num_frames: int, bodies: Sequence[Body] = BODIES, *, grain: float = 6) -> Frames:
    """Return (n, height, width, 3) frames: bodies over a still texture, with a texture of their own of +- `grain`."""
    size = SIZE[0] * FACTOR, SIZE[1] * FACTOR
    ground = loops.texture(*size, seed=7, sigma=2 * FACTOR) // 3 + 60
    frames = np.repeat(ground[None], num_frames, axis=0)
    for n, body in enumerate(map(enlarged, bodies)):
        skin = (loops.texture(256, 256, seed=20 + n, sigma=2 * FACTOR).astype(float) - 127) * grain / 127
        for i, frame in enumerate(frames):
            inside = body.mask(i, size)
            y, x = (axis - round(at) + 128 for axis, at in zip(np.nonzero(inside), body.centre(i), strict=True))
            frame[inside] = np.clip(np.array(body.colour) + skin[y, x], 0, 255).astype(np.uint8)
    return frames


def masks(num_frames: int, bodies: Sequence[Body] = BODIES) -> Masks:
    """Return (bodies, n, height, width) of SIZE: what is theirs."""
    return np.stack([[body.mask(i, SIZE) for i in range(num_frames)] for body in bodies])


def write(path: Path, frames: Frames, *, fps: int = 25) -> Path:
    """Encode frames as H.264, nearly without loss."""
    with av.open(str(path), "w") as container:
        options = {"qp": "6", "g": "12", "bf": "2", "preset": "ultrafast"}
        stream = container.add_stream("libx264", rate=Fraction(fps), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def best_iou(labels: npt.NDArray[np.uint16], mask: Masks, cell: int) -> tuple[float, int]:
    """Return the intersection over union of a mask with the label that fits it best, and that label.

    `labels` (y, x) are of cells of `cell` pixels.
    """
    pixels = labels.repeat(cell, axis=0).repeat(cell, axis=1)
    assert pixels.shape == mask.shape
    shares = [
        ((pixels == label) & mask).sum() / ((pixels == label) | mask).sum() for label in range(1, int(labels.max()) + 1)
    ]
    best = int(np.argmax(shares)) if shares else -1
    return (float(shares[best]), best + 1) if shares else (0.0, 0)
