"""A dense prediction cell on the coarsest level, in front of an FPN.

Chen et al., "Searching for Efficient Multi-Scale Architectures for Dense Image Prediction", NeurIPS 2018.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.errors import ConfigError
from spnas_core.inheritance import Init
from spnas_core.networks import FeatureInfo
from spnas_detect.necks._base import NeckFactory, refuse_repeats
from spnas_detect.necks.fpn import FPN
from spnas_detect.necks.layers import NormedConvolution, normed_initial
from spnas_detect.necks.levels import LevelMap

BRANCHES = 5
RATES = (1, 3, 6, 9, 12, 15, 18, 21)
GRIDS = (1, 2, 4, 8)
PUBLISHED = "rate1x6(in);rate18x15(b1);rate6x3(b2);rate1x1(b1);rate6x21(b1)"
"""The cell that the paper found."""

LEVELS, DENSE = "levels.", "dense."

_BRANCH = re.compile(r"(?P<kind>rate|pool|point)(?:(?P<height>[0-9]+)x(?P<width>[0-9]+))?\((?P<source>[a-z0-9]+)\)")
_SIZES = {"rate": RATES, "pool": GRIDS}


@dataclass(frozen=True)
class Branch:
    """One branch of a cell.

    Attributes:
        kind: ``rate``, a 3×3 convolution; ``pool``, average pooling to a grid, a 1×1 convolution, and bilinear
            enlargement; ``point``, a 1×1 convolution.
        size: (height, width): dilations of a convolution, cells of a grid; (1, 1) of ``point``.
        source: -1 for the cell's input, else the number of an earlier branch, from 0.
    """

    kind: str
    size: tuple[int, int]
    source: int


def parse_branches(text: str) -> tuple[Branch, ...]:
    """Read the text of a cell: branches in order, with ``;`` between them.

    ``rate6x3(in)`` is a 3×3 convolution of the input with dilation 6 downwards and 3 sideways, ``pool2x4(b1)`` average
    pooling of the first branch to 2 × 4 cells, ``point(b2)`` a 1×1 convolution.

    Raises:
        ConfigError: what is wrong with which branch.
    """
    found: list[Branch] = []
    for number, part in enumerate("".join(text.split()).split(";"), 1):
        where = f"branch {number} of the cell, {part!r},"
        match = _BRANCH.fullmatch(part)
        if match is None or (match["height"] is None) != (match["kind"] == "point"):
            raise ConfigError(f"{where} does not read rateHxW(source), poolHxW(source) or point(source)")
        kind = match["kind"]
        size = (1, 1) if kind == "point" else (int(match["height"]), int(match["width"]))
        allowed = _SIZES.get(kind, (1,))
        if not set(size) <= set(allowed):
            raise ConfigError(f"{where} has another size than the space: {', '.join(map(str, allowed))}")
        names = ["in", *(f"b{place}" for place in range(1, number))]
        if match["source"] not in names:
            raise ConfigError(f"{where} reads {match['source']!r}: it must be one of {', '.join(names)}")
        found.append(Branch(kind, size, names.index(match["source"]) - 1))
    return tuple(found)


def format_branches(branches: Sequence[Branch]) -> str:
    """Return the text of a cell; ``parse_branches`` reads it back."""
    return ";".join(_text(branch) for branch in branches)


def _text(branch: Branch) -> str:
    source = "in" if branch.source < 0 else f"b{branch.source + 1}"
    size = "" if branch.kind == "point" else "x".join(map(str, branch.size))
    return f"{branch.kind}{size}({source})"


def operations() -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield kind and size of the 81 operations of a branch."""
    yield "point", (1, 1)
    for kind, sizes in _SIZES.items():
        yield from ((kind, (height, width)) for height in sizes for width in sizes)


def draw_branches(rng: np.random.Generator, count: int = BRANCHES) -> tuple[Branch, ...]:
    """Draw a cell: of each branch the source among input and earlier branches, and one of 81 operations, evenly."""
    known = list(operations())
    return tuple(
        Branch(*known[int(rng.integers(len(known)))], int(rng.integers(number + 1)) - 1) for number in range(count)
    )


class Dense(nn.Module):
    """The cell on one feature: all branches joined, and a 1×1 convolution; every convolution with norm and ReLU.

    Rates are at most one less than the feature's sides: beyond that a kernel's outer taps would read padding alone.

    Args:
        channels: of input, branches and output.
        branches: in order.
    """

    def __init__(self, channels: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.cell = tuple(branches)
        self.branches = nn.ModuleList(
            NormedConvolution(channels, channels, 3 if branch.kind == "rate" else 1) for branch in branches
        )
        self.joining = NormedConvolution(len(branches) * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to as much."""
        made: list[Tensor] = []
        for branch, layers in zip(self.cell, self.branches, strict=True):
            source = x if branch.source < 0 else made[branch.source]
            made.append(_branch(branch, layers, source))
        joined: Tensor = functional.relu(self.joining(torch.cat(made, dim=1)))
        return joined


def _branch(branch: Branch, layers: nn.Module, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if branch.kind == "rate":
        rates = [min(rate, max(1, side - 1)) for rate, side in zip(branch.size, (height, width), strict=True)]
        convolved = functional.conv2d(x, layers.conv.weight, padding=rates, dilation=rates)  # type: ignore[union-attr, arg-type]
        return functional.relu(layers.norm(convolved))  # type: ignore[operator]
    if branch.kind == "pool":
        grid = min(branch.size[0], height), min(branch.size[1], width)
        pooled = functional.relu(layers(_averages(x, grid)))
        return functional.interpolate(pooled, size=(height, width), mode="bilinear", align_corners=False)
    return functional.relu(layers(x))


def _averages(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average Tensor[N, C, H, W] over a grid of cells, as ``adaptive_avg_pool2d`` does.

    By two products: the gradient of that function has no deterministic way on a GPU.
    """
    down, across = (_shares(side, cells).to(x.device) for side, cells in zip(x.shape[-2:], grid, strict=True))
    with torch.autocast(x.device.type, enabled=False):  # sums of many pixels, as that function adds them up
        return (down @ x.float() @ across.T).to(x.dtype)


def _shares(side: int, cells: int) -> Tensor:
    """float32[cells, side]: of each cell, from ⌊i · side / cells⌋ to ⌈(i + 1) · side / cells⌉, a share of one."""
    rows = []
    for cell in range(cells):
        first, end = cell * side // cells, -(-(cell + 1) * side // cells)
        rows.append([1 / (end - first) if first <= place < end else 0.0 for place in range(side)])
    return torch.tensor(rows)


class _DensePyramid(FPN):
    """An FPN whose coarsest lateral goes through a cell before it goes down."""

    def __init__(self, features: FeatureInfo, out_channels: int, branches: Sequence[Branch]) -> None:
        super().__init__(features, out_channels)
        self.dense = Dense(out_channels, branches)

    def get_result_from_inner_blocks(self, x: Tensor, idx: int) -> Tensor:
        """Compute a lateral, the coarsest one through the cell."""
        lateral: Tensor = super().get_result_from_inner_blocks(x, idx)
        return self.dense(lateral) if idx in {-1, len(self.inner_blocks) - 1} else lateral

    def initial(self, name: str) -> Init:
        """The cell starts as what has norms, all else as an FPN."""
        return normed_initial(name) if name.startswith(DENSE) else super().initial(name)


class DPC(nn.Module):
    """An FPN with a dense prediction cell between the coarsest lateral and the way down.

    The paper's cell ends a network for segmentation; here its context reaches every level.

    Args:
        features: what the backbone gives.
        out_channels: channels of every level, and of the cell's branches.
        repeats: None or 1: it is not stacked.
        branches: of the cell; None for the published ones.

    Raises:
        ConfigError: more than one repeat.
    """

    def __init__(
        self,
        features: FeatureInfo,
        out_channels: int,
        repeats: int | None = None,
        branches: Sequence[Branch] | None = None,
    ) -> None:
        super().__init__()
        refuse_repeats("dpc", repeats)
        self.out_channels = out_channels
        self.levels = _DensePyramid(features, out_channels, branches or parse_branches(PUBLISHED))

    def forward(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute one Tensor[N, out_channels, H_l, W_l] per level, finest first, under the features' names."""
        levels: OrderedDict[str, Tensor] = self.levels(features)
        return levels

    def initial(self, name: str) -> Init:
        """As an FPN; the cell starts as what has norms."""
        return self.levels.initial(name.removeprefix(LEVELS))

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """The pyramid follows its features as FPN does; the cell is inherited by name."""
        inner = name.removeprefix(LEVELS)
        return [name] if inner.startswith(DENSE) else [LEVELS + one for one in self.levels.source_names(inner, levels)]

    def reads(self, name: str) -> int | None:
        """The pyramid's laterals read the backbone."""
        return self.levels.reads(name.removeprefix(LEVELS))


class DPCNecks:
    """An FPN with a dense prediction cell: ``dpc:CELL``; alone it has the published cell. See ``parse_branches``."""

    def __call__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None) -> DPC:
        """Make the neck with the published cell."""
        return DPC(features, out_channels, repeats)

    def of(self, text: str) -> NeckFactory:
        """Return what makes a neck of a cell.

        Raises:
            ConfigError: the text is no cell.
        """
        return partial(DPC, branches=parse_branches(text))


DENSE_NECKS = DPCNecks()
