"""A network as deep features use it: images or clips in, tokens on a grid and one vector out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.features.deep.receptive_fields import Place
from patchlake.tasks.features.deep.weights import Weights

Size = tuple[int, int]
"""height, width in pixels."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Tokens(nn.Module):
    """Common wrapper of all networks: x_BTCHW (BCHW for images) to tokens_BTYXC and vectors_BC."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (T = 1 for images) and one vector for each input."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """From bytes to the network's input values: ((value * scale - shift) - mean) / std, per RGB channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is known about a network before its weights are in memory."""

    weights: Weights
    kind: str
    """Name of its architecture."""
    is_clip: bool
    """Whether it takes clips (B, T, C, H, W) or images (B, C, H, W)."""
    frames: int
    """Frames of one input; 1 for images."""
    step: int
    """Distance in video frames between an input's frames, if the model was trained with one; else 1."""
    input: Size
    normalisation: Normalisation
    shape: tuple[int, int, int]
    """Tokens in time, y, x."""
    places: tuple[Place, Place, Place]
    """Positions of the tokens in the input's frames and pixels: time, y, x."""
    width: int
    """Channels of a token, and of the vector."""
    vector: str
    """Which vector it gives for a whole input, in words."""
    load: Callable[[], Tokens]
    """Read the weights; on the CPU, in float32, for inference."""
    batch: int | None = None
    """Batch size, if the network accepts only one."""

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What in the network determines the output's bytes."""
        return {
            "model": self.weights.digest,
            "input": list(self.input),
            "frames": self.frames,
            "vector": self.vector,
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "scale": self.normalisation.scale,
            "shift": self.normalisation.shift,
        }


def normalisation_of(spec: HfSpec | HfClipSpec, processor: dict[str, Any]) -> Normalisation:
    """Return the constants of a saved image or video processor; the entry's come first, ImageNet's are the default."""
    given = processor if processor.get("do_normalize", True) else {"image_mean": (0, 0, 0), "image_std": (1, 1, 1)}
    scale = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    return Normalisation(
        mean=spec.mean or _three(given.get("image_mean", IMAGENET[0])),
        std=spec.std or _three(given.get("image_std", IMAGENET[1])),
        scale=float(scale),
        shift=1.0 if processor.get("offset", False) else 0.0,
    )


def _three(values: Any) -> tuple[float, ...]:
    found = tuple(float(v) for v in values) if isinstance(values, list | tuple) else (float(values),)
    return found * 3 if len(found) == 1 else found
