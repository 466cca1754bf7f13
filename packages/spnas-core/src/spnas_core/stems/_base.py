"""The contract of a stem."""

from typing import Protocol

from torch import nn

from spnas_core.blocks._base import ConvLayer


class StemSpec(Protocol):
    """A stem as the plugins register it: maps Tensor[N, 3, H, W] to Tensor[N, base, ceil(H/4), ceil(W/4)]."""

    @property
    def name(self) -> str:
        """The text behind ``+`` in a code."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def pools(self) -> bool:
        """Whether a 3×3 max-pool of stride 2 follows the last layer."""

    def check(self, base: int) -> None:
        """Raise CodeError where ``base`` channels would leave some layer without any."""

    def layers(self, base: int) -> tuple[ConvLayer, ...]:
        """Return the convolutions in order."""

    def build(self, base: int) -> nn.Module:
        """Build the module on the meta device, where it is called; an inheritance plan gives the first values.

        One call for each base: networks get copies of the module, as ``copy.deepcopy`` makes them.
        """
