"""Inverted bottlenecks ``m<e>k<k>[s]``: thin, wide in the middle, thin again.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks"; Tan et al., "MnasNet: Platform-Aware Neural
Architecture Search for Mobile". ReLU is the activation, as in MnasNet (EfficientNet has SiLU, ProxylessNAS ReLU6).
"""

import re
from dataclasses import dataclass

from spnas_core.blocks._base import ConvLayer
from spnas_core.blocks.families import BlockFamily
from spnas_core.blocks.module import ResidualBlock, gate_layers, squeezed_channels
from spnas_core.errors import CodeError

EXPANSIONS, KERNELS = (1, 3, 6), (3, 5, 7)
_NAME = re.compile(r"m(\d{1,6})k(\d{1,6})(s?)")


@dataclass(frozen=True)
class InvertedBottleneckSpec:
    """1×1 to ``ratio`` times the channels, a depthwise convolution, and 1×1 back, without an activation behind it.

    The first 1×1 is left out where the ratio is 1. The shortcut is the identity where the shape stays; where it changes
    nothing carries the input past the branch, so a block that begins to change it passes nothing through.

    Attributes:
        ratio: channels in the middle per channel that enters.
        kernel: of the depthwise convolution, which has the stride.
        squeezes: whether a gate scales the middle; it squeezes to a quarter of the channels that enter.
        aliases: none.
    """

    ratio: int
    kernel: int
    squeezes: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The text in front of a code."""
        return f"m{self.ratio}k{self.kernel}{'s' * self.squeezes}"

    @property
    def summary(self) -> str:
        """One line for listings."""
        gate = ", squeeze-and-excitation" if self.squeezes else ""
        return f"inverted bottleneck, expansion {self.ratio}, depthwise {self.kernel}x{self.kernel}{gate}"

    def check(self, base: int) -> None:
        """Any base will do."""

    def out_channels(self, planes: int) -> int:
        """Channels that leave the block."""
        return planes

    def layers(self, in_channels: int, planes: int, stride: int) -> tuple[ConvLayer, ...]:
        """Describe the residual branch; there is no projection."""
        middle = self.ratio * in_channels
        widening = (ConvLayer("conv1", in_channels, middle, 1),) if self.ratio > 1 else ()
        at = len(widening) + 1
        gate = gate_layers(middle, squeezed_channels(in_channels)) if self.squeezes else ()
        return (
            *widening,
            ConvLayer(f"conv{at}", middle, middle, self.kernel, stride, groups=middle),
            *gate,
            ConvLayer(f"conv{at + 1}", middle, planes, 1),
        )

    def build(self, in_channels: int, planes: int, stride: int) -> ResidualBlock:
        """Build the module for these layers."""
        return ResidualBlock(self.layers(in_channels, planes, stride), activates=False)

    @property
    def silent_norm(self) -> str:
        """The last norm of the residual branch."""
        return "bn3" if self.ratio > 1 else "bn2"


def _read(name: str) -> InvertedBottleneckSpec | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    ratio, kernel = int(match[1]), int(match[2])
    if ratio not in EXPANSIONS or kernel not in KERNELS:
        raise CodeError(
            f"{name!r} is an inverted bottleneck of expansion {ratio} and kernel {kernel}: expansions are 1, 3 and 6, "
            "kernels 3, 5 and 7"
        )
    return InvertedBottleneckSpec(ratio, kernel, match[3] == "s")


INVERTED_BOTTLENECKS = BlockFamily(
    "m<e>k<k>[s]",
    "inverted bottleneck (MBConv): expansion e of 1, 3, 6, depthwise kernel k of 3, 5, 7, s for squeeze-and-excitation",
    ("m1k5", "m3k3", "m6k3s", "m1k3s"),
    _read,
)
