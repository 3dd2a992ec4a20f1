"""A single-frame 2-D convolutional network: what one still image reveals; the control for models that see time."""

from __future__ import annotations

from torch import Tensor, nn

from patchlake.tasks.models.map_model import MapModel
from patchlake.tasks.models.options import FrameCnnOptions


class FrameCNN(MapModel):
    """The spacetime network's stages without the time axis, wider to have about as many weights."""

    def __init__(self, options: FrameCnnOptions, *, channels: int = 3) -> None:
        super().__init__()
        width = options.width
        self.stages = nn.Sequential(
            _stage(channels, width, kernel=6, stride=4, padding=1),
            _stage(width, 2 * width, kernel=3, stride=2, padding=1),
            _stage(2 * width, 4 * width, kernel=3, stride=2, padding=1),
        )
        self.num_channels = 4 * width

    def maps(self, x_BCTHW: Tensor) -> Tensor:
        """Return maps_BTYXC (T = 1) of windows of exactly one frame."""
        maps_BCYX: Tensor = self.stages(x_BCTHW.squeeze(2))
        return maps_BCYX.unsqueeze(2).movedim(1, -1)


def _stage(inputs: int, outputs: int, *, kernel: int, stride: int, padding: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
