"""Models: one architecture per file, single-device; whoever trains them spreads the work.

Tensor names carry their shape: B batch, C channel, T time, H height, W width, K class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NAMES = ("st_cnn", "frame_cnn")


def build(name: str, num_classes: int, *, channels: int = 3) -> nn.Module:
    """Return a fresh model that maps x_BCTHW (float, normalised) to logits_BK.

    Raises ValueError for a name that is not in `NAMES`.
    """
    if name == "st_cnn":
        from patchlake.tasks.models.st_cnn import SpacetimeCNN

        return SpacetimeCNN(num_classes, channels=channels)
    if name == "frame_cnn":
        from patchlake.tasks.models.frame_cnn import FrameCNN

        return FrameCNN(num_classes, channels=channels)
    raise ValueError(f"no model is called {name!r}; expected one of {', '.join(NAMES)}")


def count_weights(model: nn.Module) -> int:
    """Return the number of trainable numbers in a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
