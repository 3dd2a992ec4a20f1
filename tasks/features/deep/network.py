"""A network as deep features see it: pictures or clips in, tokens on a grid and one vector out."""

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
    """What every network is wrapped in: x_BTCHW (BCHW for pictures) to tokens_BTYXC and vectors_BC."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens, T = 1 for pictures, and one vector for each input."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """From bytes to what the network wants: ((value * scale - shift) - mean) / std, by RGB channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is known of a network before its weights are in memory."""

    weights: Weights
    kind: str
    """Its architecture's name."""
    is_clip: bool
    """Whether it takes clips (B, T, C, H, W) or pictures (B, C, H, W)."""
    frames: int
    """Of one input; 1 for pictures."""
    step: int
    """Frames from one of an input's to the next, where the model was made for one; else 1."""
    input: Size
    normalisation: Normalisation
    shape: tuple[int, int, int]
    """Tokens in time, y, x."""
    places: tuple[Place, Place, Place]
    """Of the tokens among the input's frames and pixels."""
    width: int
    """Channels of a token, and of the vector."""
    vector: str
    """What the one vector is."""
    load: Callable[[], Tokens]
    """Read the weights; on the CPU, in float32, for inference."""
    batch: int | None = None
    """Inputs at once, where the network takes no other number."""

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What of the network decides the output's bytes."""
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
    """Return the constants of a saved image or video processor; the entry's win, ImageNet's stand where it has none."""
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
