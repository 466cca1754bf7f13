"""DetNet-59, ``detnet:59``: a ResNet that stays at 16 pixels and reaches further by dilation.

Li et al., "DetNet: Design Backbone for Object Detection", ECCV 2018. The stride sits on the 3×3 convolution, as in
torchvision's ResNets.
"""

from torch import nn

from spnas_core.blocks import BOTTLENECK, DILATED, PROJECTION, ConvLayer, ResidualBlock
from spnas_detect.backbones.tables.parts import Chain, Row, normed, provider

STAGES = {"59": ((64, 3, 1), (128, 4, 2), (256, 6, 2), (256, 3, 1), (256, 3, 1))}
"""Planes, blocks and stride of each stage; the last two, at the same size, are dilated."""

DILATED_STAGES = 2


def _block(inputs: int, planes: int, stride: int, *, dilates: bool, projects: bool) -> ResidualBlock:
    """Make a bottleneck; dilated ones that begin a stage project their input although its shape stays."""
    layers = (DILATED if dilates else BOTTLENECK).layers(inputs, planes, stride)
    outputs = BOTTLENECK.out_channels(planes)
    if projects and layers[-1].name != PROJECTION:
        layers = (*layers, ConvLayer(PROJECTION, inputs, outputs, 1))
    return ResidualBlock(layers)


def make(name: str) -> nn.Module:
    """Make the trunk of a name; all five stages are levels, the last three of one size."""
    stages = STAGES[name]
    stem = nn.Sequential(*normed(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    rows, inputs = [], 64
    for number, (planes, blocks, stride) in enumerate(stages):
        dilates = number >= len(stages) - DILATED_STAGES
        row = nn.Sequential()
        for place in range(blocks):
            row.append(_block(inputs, planes, stride if place == 0 else 1, dilates=dilates, projects=place == 0))
            inputs = BOTTLENECK.out_channels(planes)
        rows.append(Row(row, inputs, stride))
    return Chain(stem, 4, rows, takes_all=True)


DETNET = provider(
    "detnet",
    "DetNet-59, whose last three levels are of one size",
    tuple(STAGES),
    make,
    has_equal_levels=True,
)
