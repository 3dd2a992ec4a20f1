"""Base of all architectures: frames to maps on a grid. The head that predicts from maps belongs to an objective."""

from __future__ import annotations

from torch import Tensor, nn


class MapModel(nn.Module):
    """Frames to maps, or to outputs once it has a head (`model.head = ...`, a module that takes maps_BTYXC)."""

    num_channels: int
    """C of the maps."""

    def __init__(self) -> None:
        super().__init__()
        self.head: nn.Module | None = None

    def maps(self, x_BCTHW: Tensor) -> Tensor:
        """Return maps_BTYXC of frames, float and normalised."""
        raise NotImplementedError

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Return the head's outputs; without a head, the maps."""
        maps_BTYXC = self.maps(x_BCTHW)
        return maps_BTYXC if self.head is None else self.head(maps_BTYXC)
