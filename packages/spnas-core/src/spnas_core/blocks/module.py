"""The module of every built-in block, from its layers."""

from collections import OrderedDict

from torch import Tensor, nn

from spnas_core.blocks._base import PROJECTION, ConvLayer
from spnas_core.blocks.layers import Convolution, Norm

SQUEEZE, EXCITE = "squeeze", "excite"
"""Names of the two layers of a gate."""


class ResidualBlock(nn.Module):
    """``relu(residual(x) + shortcut(x))`` for the layers of a spec; batch norm follows every convolution on the way.

    Modules are named as in torchvision (``conv1``, ``bn1``, …), the projection ``projection.conv`` and ``.bn``. A gate,
    the pooled layers ``squeeze`` and ``excite``, scales what the convolution before it gives, behind norm and ReLU, by
    sigmoid(excite(relu(squeeze(mean)))) (Hu et al., "Squeeze-and-Excitation Networks"). Without a projection the
    shortcut is the identity where shapes agree, and is left out where they do not.

    Args:
        layers: of the residual branch in order, then perhaps the projection.
        activates: whether ReLU follows the addition; without, the block is a linear bottleneck.
    """

    def __init__(self, layers: tuple[ConvLayer, ...], *, activates: bool = True) -> None:
        super().__init__()
        branch = [layer for layer in layers if layer.name != PROJECTION]
        on_the_way = [layer for layer in branch if not layer.is_pooled]
        self.activates = activates
        self.depth = len(on_the_way)
        self.gate_behind = next((place for place, layer in enumerate(branch) if layer.name == SQUEEZE), 0)
        self.projection: nn.Module | None = None
        for layer in layers:
            convolution = _convolution(layer)
            if layer.name == PROJECTION:
                self.projection = nn.Sequential(OrderedDict(conv=convolution, bn=Norm(layer.out_channels)))
                continue
            self.add_module(layer.module, convolution)
            if layer.norm is not None:
                self.add_module(layer.norm, Norm(layer.out_channels))
        keeps_shape = branch[0].in_channels == branch[-1].out_channels and all(one.stride == 1 for one in on_the_way)
        self.has_shortcut = keeps_shape or self.projection is not None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to the output of the block; without ``activates`` it may be negative."""
        output = x
        for number in range(1, self.depth + 1):
            output = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(output))
            if number < self.depth:
                output = self.relu(output)
            if number == self.gate_behind:
                output = output * self._gate(output)
        if self.has_shortcut:
            output = output + (x if self.projection is None else self.projection(x))
        if self.activates:
            output = self.relu(output)
        return output

    def _gate(self, x: Tensor) -> Tensor:
        """Return Tensor[N, C, 1, 1] between 0 and 1."""
        squeezed = self.relu(self.get_submodule(SQUEEZE)(x.mean((2, 3), keepdim=True)))
        gate: Tensor = self.get_submodule(EXCITE)(squeezed).sigmoid()
        return gate


def _convolution(layer: ConvLayer) -> Convolution:
    return Convolution(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias=layer.has_bias,
    )


def gate_layers(channels: int, squeezed: int) -> tuple[ConvLayer, ConvLayer]:
    """Describe a gate: two 1×1 convolutions with bias on the mean, to ``squeezed`` channels and back."""
    return (
        ConvLayer(SQUEEZE, channels, squeezed, 1, has_norm=False, has_bias=True, is_pooled=True),
        ConvLayer(EXCITE, squeezed, channels, 1, has_norm=False, has_bias=True, is_pooled=True),
    )


def squeezed_channels(in_channels: int) -> int:
    """Channels between the two layers of a gate: a quarter of the block's input, rounded, and at least one."""
    return max(1, round(in_channels / 4))


def projects(in_channels: int, out_channels: int, stride: int) -> bool:
    """Say whether the shortcut needs a 1×1 projection: the shape changes."""
    return stride != 1 or in_channels != out_channels
