"""Backbones as other libraries expect them: timm's feature extractors."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone, fresh_network, read_network
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError


def as_backbone(network: "AnyBackbone | Architecture | str") -> AnyBackbone:
    """Return a backbone; one of a code, a name or an architecture gets fresh weights, always the same.

    Raises:
        CodeError: the text names no network.
    """
    if isinstance(network, nn.Module):
        return network
    return fresh_network(read_network(network) if isinstance(network, str) else network, seed=0)


class StageFeatures:
    """What timm's ``FeatureInfo`` says of the returned stages: lists of values, or those of the indices asked for.

    Args:
        info: for each stage ``num_chs``, ``reduction``, ``module`` and ``index``.
        out_indices: the returned ones.
    """

    def __init__(self, info: Sequence[dict[str, Any]], out_indices: Sequence[int]) -> None:
        self.info = list(info)
        self.out_indices = tuple(out_indices)

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Channels of the features."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Input pixels per feature pixel."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Names of the stages."""
        return self.get("module", idx)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return one value for a number, a list for several of them or for None, all that are returned."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[index][key] for index in (self.out_indices if idx is None else idx)]

    def get_dicts(
        self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return everything, or the keys asked for, of each stage."""
        indices = self.out_indices if idx is None else [idx] if isinstance(idx, int) else idx
        rows = [self.info[index] for index in indices]
        return [dict(row) if keys is None else {key: row[key] for key in keys} for row in rows]

    def __len__(self) -> int:
        return len(self.info)


class TimmFeatures(nn.Module):
    """A backbone that behaves as ``timm.create_model(…, features_only=True)``: a list of features, finest first.

    As with timm's networks whose stem is no level of its own, index 0 is the first stage, at a quarter of the input.

    Args:
        network: a backbone, an architecture, its code, or another network's name.
        out_indices: stages that are returned, counted from 0, negative ones from the end; all that the backbone returns
            by default.

    Attributes:
        feature_info: channels, reductions and names of the returned stages.

    Raises:
        CodeError: the code cannot be read, or there is no such stage.
    """

    def __init__(self, network: "AnyBackbone | Architecture | str", out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.backbone = as_backbone(network)
        stages = self.backbone.feature_info.stages
        count = len(stages)
        for index in out_indices or ():
            if not -count <= index < count:
                raise CodeError(f"out_indices has {index}, and {self.backbone.architecture} returns {count} stages")
        chosen = range(count) if out_indices is None else sorted({index % count for index in out_indices})
        info = [
            {"num_chs": stage.channels, "reduction": stage.reduction, "module": stage.name, "index": index}
            for index, stage in enumerate(stages)
        ]
        self.feature_info = StageFeatures(info, tuple(chosen))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map Tensor[N, 3, H, W] to Tensor[N, C, H / r, W / r] of each returned stage."""
        features = list(self.backbone(images).values())
        return [features[index] for index in self.feature_info.out_indices]
