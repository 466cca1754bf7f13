"""The module of several copies of one network, each helping the next."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.backbones.network import CompositeNetwork
from spnas_core.inheritance import Init, fill_module, fresh_plan
from spnas_core.inheritance.plan import standard_init
from spnas_core.networks.backbone import Backbone
from spnas_core.networks.layout import stage_placements
from spnas_core.networks.rows import Fusion

COPIES, CONNECTIONS = "copies.", "connections."


class CompositeBackbone(nn.Module):
    """Copies of a network: what a stage of one gives is added to the input of the same stage of the next.

    On its way it passes a 1×1 convolution and a norm, which bring it to the channels of that input, and is enlarged by
    nearest neighbours. The last copy's features leave. New connections are silent (γ = β = 0): with equal weights in
    all copies the features are at first those of one.

    Args:
        network: which one.
        out_stages: names of the stages to return; all by default. What stands behind the last one is built, and not
            computed.

    Attributes:
        architecture: the network.
        feature_info: channels and reduction of the returned stages.
        copies: the backbones, in the order in which they are computed.
        connections: per copy but the last, what leaves each of its stages.

    Raises:
        CodeError: an unknown stage name.
    """

    def __init__(self, network: CompositeNetwork, out_stages: Sequence[str] | None = None) -> None:
        super().__init__()
        self.architecture = network
        self.feature_info = network.feature_info.chosen(out_stages, network)
        names, last = network.feature_info.names(), self.feature_info.names()[-1:]
        needed = names[: names.index(last[0]) + 1] if last else []
        self.copies = nn.ModuleList(Backbone(network.inner, needed) for _ in range(network.copies))
        layers = [stage.fusion for stage in stage_placements(network.inner)]
        with torch.device("meta"):
            self.connections = nn.ModuleList(
                nn.ModuleList(Fusion(layer) for layer in layers) for _ in range(network.copies - 1)
            )

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Map Tensor[N, 3, H, W] to ``{"s1": Tensor[N, C1, ceil(H/4), ceil(W/4)], …}``, finest first."""
        first, *others = self.copies
        features: OrderedDict[str, Tensor] = first(images)
        for connections, backbone in zip(self.connections, others, strict=True):
            connected = zip(cast("nn.ModuleList", connections), features.values(), strict=False)
            features = backbone(images, [connect(level) for connect, level in connected])
        return OrderedDict((stage.name, features[stage.name]) for stage in self.feature_info.stages)

    def fill(self, generator: torch.Generator) -> None:
        """Give it first values."""
        fill_module(self, fresh_plan(self, _initial), {}, generator=generator)


def _initial(name: str, shape: Sequence[int]) -> Init:
    if name.startswith(CONNECTIONS) and ".bn." in name and name.endswith(("weight", "bias")):
        return Init("zeros")
    return standard_init(name, shape)  # type: ignore[arg-type]


def in_every_copy(network: CompositeNetwork, tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Name the tensors of one network as those of each copy; what is of no backbone stays.

    Args:
        network: whose copies they become.
        tensors: of its inner network, by name.
        prefix: of a backbone's names.
    """
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    for copy in range(network.copies):
        found |= {
            f"{prefix}{COPIES}{copy}.{name.removeprefix(prefix)}": tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
    return found
