"""The network of an architecture: one flat list of residual blocks, cut into stages, and rows beside them."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from spnas_core.blocks import block_spec
from spnas_core.encoding import Architecture
from spnas_core.networks.features import FeatureInfo, StageInfo
from spnas_core.networks.layout import StagePlacement, block_placements, stage_placements
from spnas_core.networks.prototypes import instance
from spnas_core.networks.rows import Fusion, Statistics, resized
from spnas_core.networks.units import Unit
from spnas_core.stems import stem_spec


class Backbone(nn.Module):
    """The network of an architecture, on the meta device: a plan gives it its weights (see ``build_backbone``).

    Blocks of the main path stand in one flat list (``blocks.0 … blocks.n-1``), so that moving a stage border renames no
    weight; ``units.py`` has the names of all parts.

    Rows of a stage are computed from the highest down to row 1, then the main path. What leaves a row goes through its
    fusion and is added to the input of the next row down; row 1 adds to the input of the main path. Where rows share
    the main path's weights, they have running statistics of their own and nothing else.

    Args:
        architecture: what to build.
        out_stages: names of the stages to return (``s1``, …); all by default. What stands behind the last one is
            built, so that weights always fit, and not computed.

    Attributes:
        feature_info: channels and reduction of the returned stages.

    Raises:
        CodeError: an unknown stage name.
    """

    def __init__(self, architecture: Architecture, out_stages: Sequence[str] | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self._stages = stage_placements(architecture)
        every = FeatureInfo(
            [StageInfo(f"s{stage.number}", stage.out_channels, 2 ** (stage.number + 1)) for stage in self._stages]
        )
        self.feature_info = every.chosen(out_stages, architecture)
        self._returned = frozenset(self.feature_info.names())
        self._computed = max((every.names().index(name) + 1 for name in self._returned), default=0)
        spec = block_spec(architecture.block)
        self.stem = instance(stem_spec(architecture.stem), architecture.base)
        self.blocks = nn.ModuleList(
            instance(spec, p.in_channels, p.planes, p.stride) for p in block_placements(architecture)
        )
        if architecture.rows:
            self.rows, self.fusions = nn.ModuleDict(), nn.ModuleDict()
            for stage in self._stages:
                if stage.rows:
                    self._add_rows(stage)

    def _add_rows(self, stage: StagePlacement) -> None:
        """Make the rows and fusions of a stage, under their numbers from 1."""
        spec, shares = block_spec(self.architecture.block), self.architecture.shares_rows
        rows, fusions = nn.ModuleDict(), nn.ModuleDict()
        with torch.device("meta"):
            for row in range(1, stage.rows + 1):
                if shares:
                    blocks = nn.ModuleList(Statistics(self.blocks[block.index]) for block in stage.blocks)
                else:
                    blocks = nn.ModuleList(instance(spec, p.in_channels, p.planes, p.stride) for p in stage.blocks)
                rows[str(row)] = blocks
                fusions[str(row)] = Statistics(fusions["1"]) if shares and row > 1 else Fusion(stage.fusion)
        self.rows[str(stage.number)], self.fusions[str(stage.number)] = rows, fusions

    def forward(self, images: Tensor, added: Sequence[Tensor] = ()) -> "OrderedDict[str, Tensor]":
        """Compute the features of Tensor[N, 3, H, W].

        Args:
            images: the images.
            added: per stage, what is added to its input, brought to its size by nearest neighbours; nothing by default.

        Returns:
            ``{"s1": Tensor[N, C1, ceil(H/4), ceil(W/4)], "s2": Tensor[N, C2, ceil(H/8), …], …}``, finest first.
        """
        features: OrderedDict[str, Tensor] = OrderedDict()
        outputs = [self.stem(images)]  # of the previous stage: main path, row 1, row 2, …
        for place, stage in enumerate(self._stages[: self._computed]):
            if added:
                outputs[0] = outputs[0] + resized(added[place], outputs[0])
            outputs = self._run_stage(stage, outputs)
            if f"s{stage.number}" in self._returned:
                features[f"s{stage.number}"] = outputs[0]
        return features

    def fusion_scales(self) -> dict[str, float]:
        """Return the mean ``|γ|`` of each fusion's norm, by its unit: how much a row adds, 0 at first."""
        return {
            str(Unit("fusion", (stage, row))): float(fusion.bn.weight.detach().abs().mean())
            for stage, row, fusion in self._fusions()
        }

    def _fusions(self) -> Iterator[tuple[int, int, Fusion]]:
        for stage in self._stages:
            for row in range(1, stage.rows + 1):
                fusion = self.fusions.get_submodule(f"{stage.number}.{row}")
                if isinstance(fusion, Fusion):
                    yield stage.number, row, fusion

    def _run_stage(self, stage: StagePlacement, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute main path and rows of a stage from those of the stage before it."""
        outputs: list[Tensor] = []
        fused: Tensor | None = None
        blocks = [self.blocks[block.index] for block in stage.blocks]
        for row in range(stage.rows, 0, -1):
            x = inputs[stage.sources[row - 1]]
            x = self._run_row(stage, row, blocks, x if fused is None else x + fused)
            outputs.insert(0, x)
            fused = resized(self._fuse(stage, row, x), inputs[0])
        x = inputs[0] if fused is None else inputs[0] + fused
        for block in blocks:
            x = block(x)
        return [x, *outputs]

    def _run_row(self, stage: StagePlacement, row: int, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        own = self.rows.get_submodule(f"{stage.number}.{row}")
        for block, beside in zip(blocks, own.children(), strict=True):
            x = beside.run(block, x) if isinstance(beside, Statistics) else beside(x)
        return x

    def _fuse(self, stage: StagePlacement, row: int, x: Tensor) -> Tensor:
        fusions = self.fusions.get_submodule(str(stage.number))
        fusion = fusions.get_submodule(str(row))
        output: Tensor = fusion.run(fusions.get_submodule("1"), x) if isinstance(fusion, Statistics) else fusion(x)
        return output
