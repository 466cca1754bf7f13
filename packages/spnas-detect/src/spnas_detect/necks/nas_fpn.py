"""NAS-FPN: a searched cell of merges across all levels, stacked.

Ghiasi, Lin, Pang, Le, "NAS-FPN: Learning Scalable Feature Pyramid Architecture for Object Detection", CVPR 2019.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from spnas_core.errors import ConfigError
from spnas_core.inheritance import Init
from spnas_core.networks import FeatureInfo
from spnas_detect.necks._base import NeckFactory
from spnas_detect.necks.cell_text import level_count, parse_cell
from spnas_detect.necks.layers import NormedConvolution, normed_initial
from spnas_detect.necks.levels import LevelMap, level_read
from spnas_detect.necks.merging import Cell, Merge

CHANNELS_PER_REPEAT = 16
MAX_REPEATS = 7


def nas_fpn_cell(levels: int) -> tuple[Merge, ...]:
    """Return the merges of a cell, in order.

    For five levels P3…P7 it is the published cell (figure 7 f), where GP is global pooling:

    ========  =====  =============================================
    merge     level  of
    ========  =====  =============================================
    attended  P4     GP(P6, P4)
    fused     P4     P4 + attended
    out0      P3     P3 + fused
    out1      P4     fused + out0
    out2      P5     GP(out1, out0) + P5, which nothing else reads
    out4      P7     GP(out2, fused) + P7, which nothing else reads
    out3      P6     GP(out4, out2)
    ========  =====  =============================================

    For another number of levels the two finest and the two coarsest keep their parts, and every level between them
    plays that of P5: it attends from the two outputs before it. So six levels have one such merge more. Four levels
    have none: out1 stands in for out2. With three levels, where the second-finest is the second-coarsest as well,
    ``attended`` reads the coarsest level, and out1 is made once. Two levels keep out0 and out1, which read in1 in place
    of ``fused``; one level is one merge of its own input.
    """
    if levels == 1:
        return (Merge("out0", 0, ("in0",)),)
    top = levels - 1
    merges = []
    if levels > 2:
        merges += [
            Merge("attended", 1, (f"in{max(2, top - 1)}", "in1"), attends=True),
            Merge("fused", 1, ("in1", "attended")),
        ]
    second = merges[-1].name if merges else "in1"
    merges += [Merge("out0", 0, ("in0", second)), Merge("out1", 1, (second, "out0"))]
    merges += [Merge(f"out{i}", i, (f"out{i - 1}", f"out{i - 2}"), attends=True) for i in range(2, top - 1)]
    if levels > 2:
        merges.append(Merge(f"out{top}", top, (merges[-1].name, "fused"), attends=True))
    if levels > 3:
        merges.append(Merge(f"out{top - 1}", top - 1, (f"out{top}", f"out{top - 2}"), attends=True))
    read = {source for merge in merges for source in merge.sources}
    return tuple(
        replace(merge, added=(f"in{merge.level}",)) if f"in{merge.level}" not in read else merge for merge in merges
    )


class NASFPN(nn.Module):
    """A 1×1 convolution with batch norm per level, then stacked cells (see ``nas_fpn_cell``).

    Args:
        features: what the backbone gives.
        out_channels: channels of every level.
        repeats: stacked cells; None for ``published_repeats``.
        cell: merges of each; None for the published cell.

    Raises:
        ConfigError: the cell is for another number of levels.
    """

    def __init__(
        self,
        features: FeatureInfo,
        out_channels: int,
        repeats: int | None = None,
        cell: Sequence[Merge] | None = None,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        levels = len(features.stages)
        merges = nas_fpn_cell(levels) if cell is None else cell
        if (made := level_count(merges)) != levels:
            raise ConfigError(
                f"the neck's cell makes {made} levels, and it reads {levels}: choose as many by detector.levels and "
                "detector.extra_levels, or another cell"
            )
        self.entries = nn.ModuleList(NormedConvolution(channels, out_channels, 1) for channels in features.channels())
        self.stack = nn.ModuleList(
            Cell(merges, features.reduction(), out_channels) for _ in range(repeats or published_repeats(out_channels))
        )

    def forward(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute one Tensor[N, out_channels, H_l, W_l] per level, finest first, under the features' names."""
        levels = [entry(feature) for entry, feature in zip(self.entries, features.values(), strict=True)]
        for cell in self.stack:
            levels = cell(levels)
        return OrderedDict(zip(features, levels, strict=True))

    def initial(self, name: str) -> Init:
        """See ``normed_initial``."""
        return normed_initial(name)

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """Entries follow their features; merges their cell and name, which for an output is its level."""
        if name.startswith("entries."):
            kind, level, rest = name.split(".", 2)
            return [f"{kind}.{source}.{rest}" for source in levels.laterals(int(level))]
        stack, cell, merge, rest = name.split(".", 3)
        if merge.startswith("out"):
            merge = f"out{levels.nearest(int(merge.removeprefix('out')))}"
        return [f"{stack}.{cell}.{merge}.{rest}"]

    def reads(self, name: str) -> int | None:
        """The entries read the backbone."""
        return level_read(name, "entries")


def published_repeats(channels: int) -> int:
    """One cell per 16 channels, at least 1 and at most 7: so 3 at 48 channels and 7 at 256, as published."""
    return min(max(channels // CHANNELS_PER_REPEAT, 1), MAX_REPEATS)


class MergeNecks:
    """A stack of cells of merges: ``merge:CELL``, in the search space of NAS-FPN; alone it is the published cell.

    See ``spnas_detect.necks.cell_text.parse_cell`` for how a cell is written.
    """

    def __call__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None) -> NASFPN:
        """Make the published neck."""
        return NASFPN(features, out_channels, repeats)

    def of(self, text: str) -> NeckFactory:
        """Return what makes a neck of a cell.

        Raises:
            ConfigError: the text is no cell.
        """
        return partial(NASFPN, cell=parse_cell(text))


MERGE = MergeNecks()
