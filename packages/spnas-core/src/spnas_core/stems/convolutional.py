"""The two built-in stems: ResNet's 7×7 with max-pool, and two strided 3×3."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from spnas_core.blocks._base import ConvLayer
from spnas_core.blocks.layers import Convolution, Norm
from spnas_core.errors import CodeError


@dataclass(frozen=True)
class ConvolutionalStem:
    """Strided convolutions with batch norm and ReLU, then perhaps a max-pool.

    Attributes:
        name: text behind ``+`` in a code.
        summary: one line for listings.
        kernels: kernel size of each strided convolution.
        pools: whether a 3×3 max-pool of stride 2 follows.
    """

    name: str
    summary: str
    kernels: tuple[int, ...]
    pools: bool

    def check(self, base: int) -> None:
        """Refuse a base whose middle layers would have no channel."""
        if len(self.kernels) > 1 and base // 2 < 1:
            raise CodeError(f"the stem {self.name!r} halves base {base} to no channel: the base must be at least 2")

    def layers(self, base: int) -> tuple[ConvLayer, ...]:
        """Describe the convolutions; all but the last have half the base channels."""
        widths = [base // 2] * (len(self.kernels) - 1) + [base]
        inputs = [3, *widths[:-1]]
        return tuple(
            ConvLayer(f"conv{number}", inputs[number - 1], widths[number - 1], kernel, stride=2)
            for number, kernel in enumerate(self.kernels, 1)
        )

    def build(self, base: int) -> nn.Module:
        """Build a sequential module named ``conv1``, ``bn1``, ``relu1``, …, ``pool``."""
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for number, layer in enumerate(self.layers(base), 1):
            modules[f"conv{number}"] = Convolution(
                layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding, bias=False
            )
            modules[f"bn{number}"] = Norm(layer.out_channels)
            modules[f"relu{number}"] = nn.ReLU(inplace=True)
        if self.pools:
            modules["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
        return nn.Sequential(modules)


CONV7 = ConvolutionalStem("conv7", "7x7 convolution of stride 2, then max-pool", (7,), pools=True)
DEEP = ConvolutionalStem("deep", "two 3x3 convolutions of stride 2", (3, 3), pools=False)
