"""What these networks are made of, and how they become sources of backbones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spnas_core.backbones import BackboneProvider
from spnas_core.interchange.differences import check_same
from spnas_core.networks import FeatureInfo, StageInfo


def normed(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = False,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Return a convolution that keeps the size at stride 1, and batch norm."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps))


@dataclass(frozen=True)
class Row:
    """Modules in a row, and what leaves them.

    Attributes:
        module: that computes them.
        channels: that leave.
        stride: of the whole row.
    """

    module: nn.Module
    channels: int
    stride: int


class Chain(nn.Module):
    """A trunk whose rows are computed one after the other; what leaves a level's last row is a level.

    Args:
        stem: which brings the image to half its size or a quarter.
        reduction: of the stem, in input pixels.
        rows: in order.
        takes_all: whether what leaves each row is a level, however large; otherwise the last row of each size gives it.
    """

    def __init__(self, stem: nn.Module, reduction: int, rows: Sequence[Row], *, takes_all: bool = False) -> None:
        super().__init__()
        self.stem = stem
        self.rows = nn.ModuleList(row.module for row in rows)
        levels: dict[int, StageInfo] = {}
        for place, row in enumerate(rows):
            reduction *= row.stride
            levels[place] = StageInfo(f"rows.{place}", row.channels, reduction)
        last = {level.reduction: place for place, level in levels.items()}
        self._taken = frozenset(levels if takes_all else last.values())
        self.feature_info = FeatureInfo([levels[place] for place in sorted(self._taken)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map Tensor[N, 3, H, W] to a list of features, finest first."""
        levels, x = [], self.stem(images)
        for place, row in enumerate(self.rows):
            x = row(x)
            if place in self._taken:
                levels.append(x)
        return levels


def with_he_normal(module: nn.Module) -> nn.Module:
    """Give convolutions He normal weights (fan out) and zero biases, norms γ = 1, β = 0."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.BatchNorm2d.reset_parameters(layer)  # blocks of codes leave their first values to a plan
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def provider(
    title: str,
    summary: str,
    names: Sequence[str],
    make: Callable[[str], nn.Module],
    *,
    has_equal_levels: bool = False,
) -> BackboneProvider:
    """Return the source of networks that are made from a table; it reads weights under their own names.

    Args:
        title: under which it is registered.
        summary: one line for listings.
        names: of its networks.
        make: builds a trunk.
        has_equal_levels: see ``BackboneProvider``.
    """

    def build(name: str) -> nn.Module:
        return with_he_normal(make(name))

    def read(name: str, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        with torch.device("meta"):
            expected = make(name).state_dict()
        check_same(f"{title}:{name}", expected, state)
        return {f"trunk.{key}": state[key] for key in expected}

    return BackboneProvider(summary, lambda: tuple(names), build, read, has_equal_levels=has_equal_levels)
