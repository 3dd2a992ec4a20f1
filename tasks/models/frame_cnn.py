"""A single-frame 2-D convolution net, the control: what one still picture tells."""

from __future__ import annotations

from torch import Tensor, nn


class FrameCNN(nn.Module):
    """The spacetime net's stages with the time axis taken out, wider to have about as many weights."""

    def __init__(self, num_classes: int, *, channels: int = 3, width: int = 48) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            _stage(channels, width, kernel=6, stride=4, padding=1),
            _stage(width, 2 * width, kernel=3, stride=2, padding=1),
            _stage(2 * width, 4 * width, kernel=3, stride=2, padding=1),
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Return logits_BK of windows of exactly one frame (T = 1)."""
        x_BCHW = self.stages(x_BCTHW.squeeze(2))
        logits_BK: Tensor = self.head(x_BCHW.mean(dim=(2, 3)))
        return logits_BK


def _stage(inputs: int, outputs: int, *, kernel: int, stride: int, padding: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
