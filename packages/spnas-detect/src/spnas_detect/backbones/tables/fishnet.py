"""FishNet, ``fishnet:99``, ``150``, ``201``: down, up and down again, features carried on to where their size returns.

Sun et al., "FishNet: A Versatile Backbone for Image, Region, and Pixel Level Prediction", NeurIPS 2018.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.networks import FeatureInfo, StageInfo
from spnas_detect.backbones.tables.parts import normed, provider

STEM = 64
TAIL, BRIDGE, BODY = (128, 256, 512), 512, (512, 384, 256)
"""Channels that leave the stages; those of the head keep theirs."""

SQUEEZE = 16
"""Channels of the bridge per channel inside its gate."""


@dataclass(frozen=True)
class Network:
    """Numbers of blocks.

    Attributes:
        tail: of the stages on the way down.
        bridge: of the turn.
        body: of the stages on the way up.
        head: of the stages on the second way down.
        to_body: on the ways from the tail, finest first, to the body.
        to_head: on the ways from the body, coarsest first, to the head.
    """

    tail: tuple[int, int, int]
    bridge: int
    body: tuple[int, int, int]
    head: tuple[int, int, int]
    to_body: tuple[int, int, int]
    to_head: tuple[int, int, int]


NETWORKS = {
    "99": Network((2, 2, 6), 2, (1, 1, 1), (1, 2, 2), (1, 1, 1), (4, 1, 1)),
    "150": Network((2, 4, 8), 4, (2, 2, 2), (2, 2, 4), (2, 2, 2), (4, 2, 2)),
    "201": Network((3, 4, 12), 4, (2, 2, 2), (2, 3, 10), (2, 2, 2), (9, 2, 2)),
}


def activated(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, *, bias: bool = False) -> nn.Sequential:
    """Return batch norm, ReLU and a convolution."""
    convolution = nn.Conv2d(inputs, outputs, kernel, 1, dilation * (kernel // 2), dilation, bias=bias)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution)


class Block(nn.Module):
    """A bottleneck with norm and ReLU before each convolution.

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        dilation: of the 3×3.
        sums: whether the shortcut sums neighbouring channels where there are fewer, and not a 1×1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, *, sums: bool = False) -> None:
        super().__init__()
        middle = outputs // 4
        self.summed = inputs // outputs if sums else 1
        self.shortcut = None if sums or inputs == outputs else activated(inputs, outputs)
        self.branch = nn.Sequential(
            activated(inputs, middle), activated(middle, middle, 3, dilation), activated(middle, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to as many channels as leave."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        if self.summed > 1:
            count, channels, height, width = x.shape
            shortcut = x.reshape(count, channels // self.summed, self.summed, height, width).sum(2)
        branch: Tensor = self.branch(x)
        return branch + shortcut


def blocks(inputs: int, outputs: int, count: int, dilation: int = 1, *, sums: bool = False) -> nn.Sequential:
    """Return blocks in a row."""
    return nn.Sequential(
        *(Block(inputs if place == 0 else outputs, outputs, dilation, sums=sums) for place in range(count))
    )


class Bridge(nn.Module):
    """The turn at the coarsest size: blocks whose outputs a gate scales, and is added to.

    Args:
        channels: that enter and leave.
        count: of blocks.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.narrowing = activated(channels, channels // 2)
        self.widening = activated(channels // 2, channels * 2, bias=True)
        self.norm = nn.BatchNorm2d(channels * 2)
        self.squeeze = nn.Conv2d(channels * 2, channels // SQUEEZE, 1)
        self.excite = nn.Conv2d(channels // SQUEEZE, channels, 1)
        self.blocks = blocks(channels * 2, channels, count)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to as many channels."""
        x = self.widening(self.narrowing(x))
        mean = functional.relu(self.norm(x)).mean((2, 3), keepdim=True)
        gate: Tensor = self.excite(functional.relu(self.squeeze(mean))).sigmoid()
        turned: Tensor = self.blocks(x)
        return turned * gate + gate


class FishNet(nn.Module):
    """The trunk: levels of 320 channels from the end of the body, then three of the head.

    Args:
        network: its numbers of blocks.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        half = STEM // 2
        relu = nn.ReLU(inplace=True)
        self.stem = nn.Sequential(
            *(*normed(3, half, 3, 2), relu, *normed(half, half, 3), relu, *normed(half, STEM, 3), relu),
            nn.MaxPool2d(3, 2, 1),
        )
        entering = (STEM, *TAIL[:-1])
        self.tail = _row(entering, TAIL, network.tail)
        self.to_body = _row(entering, entering, network.to_body)
        self.bridge = Bridge(BRIDGE, network.bridge)
        wide = [BRIDGE]  # channels that enter each stage of the body, and leave the last one
        for leaving, carried in zip(BODY, reversed(entering), strict=True):
            wide.append(leaving + carried)
        self.body = nn.ModuleList(
            blocks(inputs, outputs, count, 2**place, sums=True)
            for place, (inputs, outputs, count) in enumerate(zip(wide[:-1], BODY, network.body, strict=True))
        )
        self.to_head = _row(wide[:-1], wide[:-1], network.to_head)
        levels = [wide[-1]]
        for carried in reversed(wide[:-1]):
            levels.append(levels[-1] + carried)
        self.head = _row(levels[:-1], levels[:-1], network.head)
        self.feature_info = FeatureInfo(
            [StageInfo(f"level.{place}", channels, 4 << place) for place, channels in enumerate(levels)]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map Tensor[N, 3, H, W], sides multiples of 32, to a list of features, finest first."""
        x = self.stem(images)
        carried = []
        for carry, stage in zip(self.to_body, self.tail, strict=True):
            carried.append(carry(x))
            x = functional.max_pool2d(stage(x), 2)
        x = self.bridge(x)
        returning = []
        for carry, stage, beside in zip(self.to_head, self.body, reversed(carried), strict=True):
            returning.append(carry(x))
            x = torch.cat([functional.interpolate(stage(x), scale_factor=2.0, mode="nearest"), beside], 1)
        levels = [x]
        for stage, beside in zip(self.head, reversed(returning), strict=True):
            levels.append(torch.cat([functional.max_pool2d(stage(levels[-1]), 2), beside], 1))
        return levels


def _row(inputs: Sequence[int], outputs: Sequence[int], counts: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(blocks(*sizes) for sizes in zip(inputs, outputs, counts, strict=True))


def make(name: str) -> nn.Module:
    """Make the trunk of a name."""
    return FishNet(NETWORKS[name])


FISHNET = provider("fishnet", "FishNet: down, up, and down again", tuple(NETWORKS), make)
