"""The main path: one flat list of residual blocks, cut into stages."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from spnas_core.blocks import block_spec
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, suggestion
from spnas_core.networks.features import FeatureInfo, StageInfo
from spnas_core.networks.layout import block_placements
from spnas_core.networks.prototypes import instance
from spnas_core.stems import stem_spec


class SerialBackbone(nn.Module):
    """The network of a serial code, on the meta device: a plan gives it its weights (see ``build_backbone``).

    Blocks stand in one flat list (``blocks.0 … blocks.n-1``), so that moving a stage border renames no weight.

    Args:
        architecture: what to build; its parallel code must be empty.
        out_stages: names of the stages to return (``s1``, …); all by default. Blocks behind the last one are built,
            so that weights always fit, and not computed.

    Attributes:
        feature_info: channels and reduction of the returned stages.

    Raises:
        CodeError: a parallel code, or an unknown stage name.
    """

    def __init__(self, architecture: Architecture, out_stages: Sequence[str] | None = None) -> None:
        super().__init__()
        if architecture.rows:
            raise CodeError(
                f"{architecture} has parallel rows, which SerialBackbone does not build: "
                f"leave out the parallel code {'-'.join(map(str, architecture.rows))!r}"
            )
        self.architecture = architecture
        spec = block_spec(architecture.block)
        placements = block_placements(architecture)
        self.stem = instance(stem_spec(architecture.stem), architecture.base)
        self.blocks = nn.ModuleList(instance(spec, p.in_channels, p.planes, p.stride) for p in placements)

        last_of_stage = {placement.stage: placement for placement in placements}
        names = [f"s{stage}" for stage in last_of_stage]
        wanted = names if out_stages is None else list(out_stages)
        for name in wanted:
            if name not in names:
                raise CodeError(f"{architecture} has no stage {name!r}{suggestion(name, names)}")
        self._stage_after_block = {
            placement.index: f"s{stage}" for stage, placement in last_of_stage.items() if f"s{stage}" in wanted
        }
        self._last_block = max(self._stage_after_block, default=-1)
        self.feature_info = FeatureInfo(
            [
                StageInfo(f"s{stage}", placement.out_channels, 2 ** (stage + 1))
                for stage, placement in last_of_stage.items()
                if f"s{stage}" in wanted
            ]
        )

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Compute the features of Tensor[N, 3, H, W].

        Returns:
            ``{"s1": Tensor[N, C1, ceil(H/4), ceil(W/4)], "s2": Tensor[N, C2, ceil(H/8), …], …}``, finest first.
        """
        features: OrderedDict[str, Tensor] = OrderedDict()
        x = self.stem(images)
        for index, block in enumerate(self.blocks[: self._last_block + 1]):
            x = block(x)
            if index in self._stage_after_block:
                features[self._stage_after_block[index]] = x
        return features
