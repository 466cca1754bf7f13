"""DetNAS's four networks: ``detnas:fpn-300m``, ``retinanet-300m``, ``fpn-1.3g``, ``fpn-3.8g``.

Chen et al., "DetNAS: Backbone Search for Object Detection", NeurIPS 2019: ShuffleNetV2 with a choice in each block.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spnas_detect.backbones.tables.parts import Chain, Row, normed, provider

KERNELS = (3, 5, 7, 3)
"""By choice; the last one has three depthwise convolutions (after Xception)."""

XCEPTION = 3


@dataclass(frozen=True)
class Network:
    """One of the networks.

    Attributes:
        stem: channels of the 3×3 convolution of stride 2.
        channels: of each stage.
        code: the choices, a digit per block, stage by stage.
    """

    stem: int
    channels: tuple[int, ...]
    code: str


LARGE = "00312102 03123320 2113202221310333 13333333"
NETWORKS = {
    "fpn-300m": Network(16, (64, 160, 320, 640), "2120 2112 33130031 3132"),
    "retinanet-300m": Network(16, (64, 160, 320, 640), "2311 3213 31113320 3333"),
    "fpn-1.3g": Network(48, (96, 240, 480, 960), LARGE),
    "fpn-3.8g": Network(72, (172, 432, 864, 1728), LARGE),
}


def separable(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a depthwise convolution and a 1×1, each with batch norm."""
    return [normed(inputs, inputs, kernel, stride, groups=inputs), normed(inputs, outputs)]


class Block(nn.Module):
    """Half of the channels pass, the others go through the branch, and both are put together.

    At stride 1 the channels of the two halves alternate first. At stride 2 both ways read all channels, and the one
    that passes is a separable convolution of the choice's kernel.

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        choice: 0, 1, 2: a depthwise convolution of 3×3, 5×5, 7×7 in a bottleneck; 3: three separable ones of 3×3.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, choice: int, stride: int) -> None:
        super().__init__()
        kernel, middle = KERNELS[choice], outputs // 2
        entering, leaving = (inputs // 2, outputs // 2) if stride == 1 else (inputs, outputs - inputs)
        if choice == XCEPTION:
            parts = [
                *(*separable(entering, middle, kernel, stride), nn.ReLU(inplace=True)),
                *(*separable(middle, middle, kernel), nn.ReLU(inplace=True)),
                *separable(middle, leaving, kernel),
            ]
        else:
            parts = [normed(entering, middle), nn.ReLU(inplace=True), *separable(middle, leaving, kernel, stride)]
        self.branch = nn.Sequential(*parts, nn.ReLU(inplace=True))
        self.passing = None
        if stride > 1:
            self.passing = nn.Sequential(*separable(inputs, inputs, kernel, stride), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to the block's output."""
        if self.passing is not None:
            return torch.cat([self.passing(x), self.branch(x)], 1)
        count, channels, height, width = x.shape
        alternating = x.reshape(count, 2, channels // 2, height, width).transpose(1, 2).flatten(1, 2)
        first, second = alternating.chunk(2, 1)
        return torch.cat([first, self.branch(second)], 1)


def make(name: str) -> nn.Module:
    """Make the trunk of a name."""
    network = NETWORKS[name]
    stem = nn.Sequential(*normed(3, network.stem, 3, 2, bias=True), nn.ReLU(inplace=True))
    rows, inputs = [], network.stem
    for channels, choices in zip(network.channels, network.code.split(), strict=True):
        row = nn.Sequential()
        for place, choice in enumerate(choices):
            row.append(Block(inputs, channels, int(choice), 2 if place == 0 else 1))
            inputs = channels
        rows.append(Row(row, channels, 2))
    return Chain(stem, 2, rows)


DETNAS = provider("detnas", "DetNAS's networks, ShuffleNetV2 with searched blocks", tuple(NETWORKS), make)
