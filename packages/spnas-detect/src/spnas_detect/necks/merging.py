"""Cells of merges: the search space of NAS-FPN, and the operations of Auto-FPN on their edges.

Ghiasi, Lin, Pang, Le, "NAS-FPN: Learning Scalable Feature Pyramid Architecture for Object Detection", CVPR 2019; Xu et
al., "Auto-FPN: Automatic Network Architecture Adaptation for Object Detection Beyond Classification", ICCV 2019.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from spnas_detect.necks.layers import NormedConvolution, fitted

NONE = "none"
"""Auto-FPN's operation of an edge that is not there; its place stays, so that the others keep their names."""

EDGE_OPERATIONS = {"skip": (0, 1), "sep3": (3, 1), "sep5": (5, 1), "dil3": (3, 2), "dil5": (5, 2), NONE: (0, 1)}
"""Kernel and dilation of Auto-FPN's operations; no kernel has no layers."""


@dataclass(frozen=True)
class Merge:
    """One merging cell of the paper: features brought to one size and combined, then ReLU, 3×3 convolution, norm.

    Where every source passes an operation, that is all: the operations are the convolutions.

    Attributes:
        name: ``out0``, ``out1``, … for the outputs, finest first; anything else for those between.
        level: from 0, whose size the result has.
        sources: names of earlier merges or of inputs (``in0``, ``in1``, …).
        attends: whether the two sources are combined by global pooling, a + b · sigmoid(max over all pixels of a) for
            sources (a, b), and not by their sum.
        added: where it attends, features of the same level that no merge reads, added before the ReLU.
        operations: of each source, one of ``EDGE_OPERATIONS``, not ``none`` for all; empty where there are none.
    """

    name: str
    level: int
    sources: tuple[str, ...]
    attends: bool = False
    added: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()

    @property
    def is_output(self) -> bool:
        """Whether it is what the cell gives of its level."""
        return self.name.startswith("out")

    @property
    def read(self) -> tuple[str, ...]:
        """The sources that it computes from."""
        named = zip(self.sources, self.operations or ("",) * len(self.sources), strict=True)
        return tuple(source for source, operation in named if operation != NONE)


class Cell(nn.ModuleDict):
    """Merges one after the other; each has its layers under its name.

    Coarser features are upsampled to their nearest neighbours, finer ones pooled by the maximum over the stride.

    Args:
        merges: in order; an output for each level.
        reductions: input pixels per feature pixel of each level, finest first.
        channels: of every level.
    """

    def __init__(self, merges: Sequence[Merge], reductions: Sequence[int], channels: int) -> None:
        super().__init__({merge.name: _layers(merge, channels) for merge in merges})
        self.merges = tuple(merges)
        self.reductions = tuple(reductions)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Merge one Tensor[N, C, H_l, W_l] per level, finest first, into as many of the same sizes."""
        known = {f"in{level}": (level, x) for level, x in enumerate(inputs)}
        for merge in self.merges:
            fitting = [self._at(merge.level, *known[name], inputs) for name in merge.read]
            layers = self[merge.name]
            if isinstance(layers, nn.ModuleList):
                edges = (edge for edge, operation in zip(layers, merge.operations, strict=True) if operation != NONE)
                first, *others = [edge(x) for edge, x in zip(edges, fitting, strict=True)]
                known[merge.name] = merge.level, sum(others, start=first)
                continue
            first, *others = fitting
            merged = attend(first, *others) if merge.attends else sum(others, start=first)
            for name in merge.added:
                merged = merged + known[name][1]
            known[merge.name] = merge.level, layers(functional.relu(merged))
        return [known[f"out{level}"][1] for level in range(len(inputs))]

    def _at(self, target: int, level: int, x: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """Bring a level's feature to the size of another."""
        stride = self.reductions[target] // self.reductions[level]
        if stride > 1:
            x = functional.max_pool2d(x, stride, ceil_mode=True)
        return fitted(x, inputs[target].shape[-2:])


def attend(guide: Tensor, other: Tensor) -> Tensor:
    """Combine two Tensor[N, C, H, W] by global pooling: the guide's maximum per channel weights the other.

    guide + other · sigmoid(max over all pixels of the guide); the guide is the coarser level, as in the authors' code.
    """
    return guide + other * guide.amax((2, 3), keepdim=True).sigmoid()


def _layers(merge: Merge, channels: int) -> nn.Module:
    if merge.operations:
        return nn.ModuleList(_edge(operation, channels) for operation in merge.operations)
    return NormedConvolution(channels, channels, 3)


def _edge(operation: str, channels: int) -> nn.Module:
    """ReLU, a depthwise convolution, a pointwise one, norm; or nothing."""
    kernel, dilation = EDGE_OPERATIONS[operation]
    if not kernel:
        return nn.Identity()
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(channels, channels, kernel, 1, padding, dilation, groups=channels, bias=False)
    pointwise = NormedConvolution(channels, channels, 1)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), depthwise=depthwise, pointwise=pointwise))
