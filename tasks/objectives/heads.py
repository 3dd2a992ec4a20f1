"""Heads: from a model's maps to an objective's outputs."""

from __future__ import annotations

from torch import Tensor, nn


class MeanLinear(nn.Linear):
    """A linear layer on the maps' mean over time and space."""

    def forward(self, maps_BTYXC: Tensor) -> Tensor:
        """Return outputs_BK."""
        return super().forward(maps_BTYXC.movedim(-1, 1).mean(dim=(2, 3, 4)))
