"""The network that holds the weights of all parts of an architecture."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from spnas_core.blocks import block_spec
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms import Rewrite, identity
from spnas_core.networks import Backbone, block_placements
from spnas_core.networks.prototypes import instance
from spnas_core.networks.units import split_name
from spnas_core.supernets.sharing import share_tensors


class Supernet(Backbone):
    """A backbone whose parts compute with its weights; on the meta device, as ``Backbone``.

    Where a border moves, a block halves the resolution that keeps it in the start. So every block but the first is
    built as if it did: one that keeps its channels has an *elastic* projection, under the name that a child's has,
    used on those parts alone. A child of the start inherits it by name. The forward pass is that of the start.

    Args:
        architecture: the start.
        out_stages: names of the stages to return; all by default.

    Raises:
        CodeError: an unknown stage name, or rows.
    """

    def __init__(self, architecture: Architecture, out_stages: Sequence[str] | None = None) -> None:
        if architecture.rows:
            raise CodeError(f"{architecture} has rows, which no part shares: leave them out")
        super().__init__(architecture, out_stages)
        spec = block_spec(architecture.block)
        self.blocks = nn.ModuleList(
            instance(spec, p.in_channels, p.planes, 2 if p.index else p.stride) for p in block_placements(architecture)
        )

    def forward(self, images: Tensor, added: Sequence[Tensor] = ()) -> "OrderedDict[str, Tensor]":
        """Compute the whole start; see ``Backbone``."""
        features: OrderedDict[str, Tensor] = self.path(identity(self.architecture))(images, added)
        return features

    def path(self, part: Rewrite) -> Backbone:
        """Return the backbone of a part, whose tensors are these: what trains it trains this network.

        Make it anew where tensors have been replaced, as by moving this network to another device.

        Args:
            part: from the start, each of its blocks one of the start's; see ``part_of``.

        Raises:
            CodeError: a block is new, or has other channels.
        """
        view = Backbone(part.child, self.feature_info.names())
        missing = share_tensors(view, self, lambda name: _source(part, name))
        if missing:
            raise CodeError(f"{part.child} is no part of {self.architecture}, which has nothing like its {missing[0]}")
        ours = set(self.modules())
        for layer in view.modules():  # shared ones are in the mode that they are in
            layer.training = layer.training if layer in ours else self.training
        return view

    def path_block(self, index: int, stride: int) -> nn.Module:
        """Return a block with a stride of its own, whose tensors are these."""
        place = block_placements(self.architecture)[index]
        view = instance(block_spec(self.architecture.block), place.in_channels, place.planes, stride)
        share_tensors(view, self.blocks[index], lambda name: name)
        return view


def _source(part: Rewrite, name: str) -> str | None:
    """Name of the start's tensor that a tensor of a part is."""
    unit, inner = split_name(name)
    sources = part.origins[unit].sources
    return f"{sources[0].module}.{inner}" if sources else None
