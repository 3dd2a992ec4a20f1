"""A model: one convolution."""

from typing import Any

from torch import Tensor, nn

from patchlake.tasks.models.map_model import MapModel
from patchlake.tasks.models.options import ModelOptions


class Options(ModelOptions):
    width: int = 8


class Tiny(MapModel):
    Options = Options

    def __init__(self, options: Options, *, channels: int = 3, **context: Any) -> None:
        super().__init__()
        self.num_channels = options.width
        self.convolution = nn.Conv3d(channels, options.width, 4, stride=4)

    def maps(self, x_BCTHW: Tensor) -> Tensor:
        return self.convolution(x_BCTHW).relu().movedim(1, -1)
