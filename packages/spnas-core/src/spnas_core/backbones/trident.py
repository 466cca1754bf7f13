"""The module of a network one of whose stages looks at several distances, with one set of weights."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.backbones.network import TridentNetwork
from spnas_core.inheritance import fill_module, fresh_plan
from spnas_core.networks.backbone import Backbone

DILATIONS = (1, 2, 3)
"""Of the published branches; the middle one stands for all where one is computed."""


class TridentBackbone(Backbone):
    """A code's network in one of whose stages every spatial convolution has several dilations, which share its weights.

    Called as any backbone it computes the middle branch alone: the published fast inference. ``spread`` computes all.
    Tensors have the names and shapes of the code's own network, so weights of one are weights of the other.

    Args:
        network: which one.
        out_stages: names of the stages to return; all by default.
        dilations: of the branches.

    Attributes:
        branches: how many.

    Raises:
        CodeError: an unknown stage name.
    """

    def __init__(
        self, network: TridentNetwork, out_stages: Sequence[str] | None = None, dilations: Sequence[int] = DILATIONS
    ) -> None:
        super().__init__(network.inner, out_stages)
        self.architecture = network  # type: ignore[assignment]
        self.branches = len(dilations)
        self._stage = network.stage
        self._fast = tuple(dilations[len(dilations) // 2 : len(dilations) // 2 + 1])
        self._dilations = tuple(dilations)
        for placement in self._stages[network.stage - 1].blocks:
            for parent in self.blocks[placement.index].modules():
                for name, module in parent.named_children():
                    if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1:
                        setattr(parent, name, BranchedConvolution(module, self._fast))

    def forward(self, images: Tensor, added: Sequence[Tensor] = ()) -> "OrderedDict[str, Tensor]":
        """Compute the features of the middle branch alone; see ``Backbone``."""
        self._take(self._fast)
        return super().forward(images, added)

    def spread(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Compute the features of all branches.

        Args:
            images: Tensor[N, 3, H, W].

        Returns:
            As ``forward``, of B · N images, the N images of the first branch in front. Stages before the branched one
            give each branch the same.
        """
        self._take(self._dilations)
        features: OrderedDict[str, Tensor] = OrderedDict()
        x = self.stem(images)
        for stage in self._stages[: self._computed]:
            if stage.number == self._stage:
                x = torch.cat([x] * self.branches)
            (x,) = self._run_stage(stage, [x])
            if f"s{stage.number}" in self._returned:
                features[f"s{stage.number}"] = x if stage.number >= self._stage else torch.cat([x] * self.branches)
        return features

    def fill(self, generator: torch.Generator) -> None:
        """Give it first values: the code's own."""
        fill_module(self, fresh_plan(self), {}, generator=generator)

    def _take(self, dilations: Sequence[int]) -> None:
        """Say which branches the next images go through."""
        for module in self.blocks.modules():
            if isinstance(module, BranchedConvolution):
                module.dilations = tuple(dilations)


class BranchedConvolution(nn.Conv2d):
    """A convolution that keeps the size with each dilation, of a batch of as many equal parts as it has dilations.

    Args:
        of: the convolution whose weight and bias it has.
        dilations: one per part.
    """

    def __init__(self, of: nn.Conv2d, dilations: Sequence[int]) -> None:
        nn.Module.__init__(self)
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "groups", "padding", "padding_mode"):
            setattr(self, name, getattr(of, name))
        self.dilation, self.transposed, self.output_padding = of.dilation, False, (0, 0)
        self.weight, self.bias = of.weight, of.bias
        self.dilations = tuple(dilations)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Map Tensor[B · N, C, H, W] to as many."""
        parts = input.chunk(len(self.dilations)) if len(self.dilations) > 1 else (input,)
        return torch.cat([self._convolved(part, d) for part, d in zip(parts, self.dilations, strict=True)])

    def _convolved(self, x: Tensor, dilation: int) -> Tensor:
        padding = [dilation * (side // 2) for side in self.kernel_size]
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding, dilation, self.groups)
