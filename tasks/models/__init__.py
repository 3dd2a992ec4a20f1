"""Models: one architecture per file, for a single device; training distributes the work.

To add one: one file, its options, and a line in `MODELS`. Tensor names carry their shape: B batch, C channel, T time,
H height, W width, Y and X cells of a map, K output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.models.options import ModelOptions
from patchlake.tasks.strict import Family

if TYPE_CHECKING:
    from torch import nn

    from patchlake.tasks.models.map_model import MapModel

MODELS = Family(
    "models",
    {
        "st_cnn": (".options:StCnnOptions", ".st_cnn:SpacetimeCNN"),
        "frame_cnn": (".options:FrameCnnOptions", ".frame_cnn:FrameCNN"),
    },
    options=ModelOptions,
    package=__name__,
)
Entry = Annotated[ModelOptions, MODELS]
"""The model in a recipe's `train`: a kind, or a mapping with its options."""

__all__ = ["MODELS", "Entry", "ModelOptions", "build", "card_of", "count_weights", "of_card"]


def build(entry: ModelOptions | str, *, channels: int = 3) -> MapModel:
    """Return a new model for frames with `channels` channels, without a head; torch's seed determines its weights.

    Raises RecipeError for an unknown kind.
    """
    made: MapModel = MODELS.build(MODELS.entry(entry), channels=channels)
    return made


def card_of(entry: ModelOptions) -> dict[str, Any]:
    """Return the part of a card (`model.json`) that describes a model's architecture."""
    given = entry.model_dump(mode="json", exclude_defaults=True)
    kind = given.pop("kind")
    return {"architecture": kind, **({"options": given} if given else {})}


def of_card(card: Mapping[str, Any]) -> MapModel:
    """Return the model that a card describes, without a head. Raises KeyError or ValueError for an invalid card."""
    try:
        entry = MODELS.entry({"kind": str(card["architecture"]), **card.get("options", {})})
    except RecipeError as error:
        raise ValueError(str(error)) from error
    return build(entry, channels=int(card["channels"]))


def count_weights(model: nn.Module) -> int:
    """Return the number of trainable parameters of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
