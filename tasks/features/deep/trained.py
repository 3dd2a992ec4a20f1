"""Models trained by this project (tasks/models), read from their card and state: the maps before the head."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import Any

import torch
from torch import Tensor

from patchlake.tasks import models
from patchlake.tasks.features.deep.network import Network, Normalisation, Size, Tokens
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.features.deep.receptive_fields import Watch, tiles
from patchlake.tasks.features.deep.weights import CARD, STATE, Weights
from patchlake.tasks.storage.location import Location


class _Trained(Tokens):
    """The maps before the head, and their mean, which is the head's input."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps_BTYXC = self.model.maps(x.transpose(1, 2) if x.ndim == 5 else x.unsqueeze(2))
        return maps_BTYXC, maps_BTYXC.movedim(-1, 1).float().mean(dim=(2, 3, 4))


def open_trained(weights: Weights, spec: HfSpec | HfClipSpec, frame_size: Size) -> Network:
    """Return the description of a trained model; frames are resized to the size that it was trained on."""
    card = json.loads(Location(weights.path).get(CARD) or b"{}")
    try:
        name, frames = str(card["architecture"]), int(card["window_frames"])
        size: Size = spec.input or (int(card["size"][0]), int(card["size"][1]))
        mean, scale = float(card["normalisation"]["mean"]), float(card["normalisation"]["scale"])
        step, channels = int(card["window_stride"]), int(card["channels"])
        with torch.device("meta"):
            model = models.of_card(card).eval()
    except (KeyError, TypeError, ValueError) as error:
        raise weights.error(f"{CARD} is not the card of a model that this version knows: {error!r}") from error
    is_clip = frames > 1
    frames = int(getattr(spec, "frames", None) or frames) if is_clip else 1
    if channels != 3:
        raise weights.error(f"it was trained on {channels} channels, expected the 3 of stored frames")
    watch = Watch(axes=3 if is_clip else 2)
    with torch.no_grad(), watch.on():
        x = torch.empty(1, *([frames] if is_clip else []), 3, *size, device="meta")
        tokens, vectors = _Trained(model)(x)
    t, y, x_ = tokens.shape[1:4]
    *time, vertical, level = (
        watch.place(i, *pair) for i, pair in enumerate(_extents(is_clip, frames, size, (t, y, x_)))
    )
    return Network(
        weights=weights,
        kind=name,
        is_clip=is_clip,
        frames=frames,
        step=step if is_clip else 1,
        input=size,
        normalisation=Normalisation(mean=(mean,) * 3, std=(scale,) * 3, scale=1.0),
        shape=(t, y, x_),
        places=(time[0] if time else tiles(1), vertical, level),
        width=vectors.shape[1],
        vector="the mean of all tokens",
        load=partial(_load, weights, name, card),
    )


def _extents(is_clip: bool, frames: int, size: Size, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return (length, cells) of each axis."""
    pairs = list(zip((frames, *size), shape, strict=True))
    return pairs if is_clip else pairs[1:]


def _load(weights: Weights, name: str, card: dict[str, Any]) -> Tokens:
    model = models.of_card(card)
    try:
        state = torch.load(io.BytesIO(Location(weights.path).get(STATE) or b""), map_location="cpu", weights_only=True)
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith("head.")})
    except Exception as error:
        raise weights.error(f"{STATE} does not hold the weights of the {name} in {CARD}: {error}") from error
    return _Trained(model.eval())
