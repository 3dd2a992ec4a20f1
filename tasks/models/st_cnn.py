"""A small 3-D convolutional network (after C3D, Tran et al. 2015): what moves where, from pixels alone."""

from __future__ import annotations

from torch import Tensor, nn

from patchlake.tasks.models.map_model import MapModel
from patchlake.tasks.models.options import StCnnOptions


class SpacetimeCNN(MapModel):
    """A strided stem and two 3x3x3 stages; about 0.3 M weights at the default width.

    Its input is the difference of each frame from the window's mean frame, so static scenery is removed (and
    can't be memorised); what never changes within a window is invisible to it. Batch norm, since group norm
    needed twice the epochs; with several ranks, training averages its running statistics.
    """

    def __init__(self, options: StCnnOptions, *, channels: int = 3) -> None:
        super().__init__()
        width = options.width
        self.stem = _stage(channels, width, kernel=(5, 6, 6), stride=(1, 4, 4), padding=(2, 1, 1))
        self.stages = nn.Sequential(
            _stage(width, 2 * width, kernel=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1)),
            _stage(2 * width, 4 * width, kernel=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1)),
        )
        self.num_channels = 4 * width

    def maps(self, x_BCTHW: Tensor) -> Tensor:
        """Return maps_BTYXC for any T >= 1, H and W >= 4."""
        change_BCTHW = 2 * (x_BCTHW - x_BCTHW.mean(dim=2, keepdim=True))
        maps_BCTYX: Tensor = self.stages(self.stem(change_BCTHW))
        return maps_BCTYX.movedim(1, -1)


Triple = tuple[int, int, int]


def _stage(inputs: int, outputs: int, *, kernel: Triple, stride: Triple, padding: Triple) -> nn.Sequential:
    convolution = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))
