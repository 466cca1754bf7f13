"""From any network to its module: a code's, a fixed one's, or a composition of a code."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from spnas_core.backbones.composite import CompositeBackbone
from spnas_core.backbones.fixed import FixedBackbone
from spnas_core.backbones.network import AnyNetwork, CompositeNetwork, Composition, FixedNetwork, TridentNetwork
from spnas_core.backbones.trident import TridentBackbone
from spnas_core.encoding import Architecture
from spnas_core.networks import Backbone, build_backbone

AnyBackbone = Backbone | FixedBackbone | CompositeBackbone | TridentBackbone
"""A module that maps images to features by stage, and says what they are."""

_COMPOSED: Mapping[type[Composition], Callable[..., CompositeBackbone | TridentBackbone]] = {
    CompositeNetwork: CompositeBackbone,
    TridentNetwork: TridentBackbone,
}


def blank_network(network: AnyNetwork, out_stages: Sequence[str] | None = None) -> AnyBackbone:
    """Build any network on the meta device, as a backbone without values; see ``fresh_values``.

    Raises:
        CodeError: it has no such stage.
    """
    if isinstance(network, Architecture):
        return Backbone(network, out_stages)
    if isinstance(network, Composition):
        return _COMPOSED[type(network)](network, out_stages)
    try:
        with torch.device("meta"):
            return FixedBackbone(network, out_stages)
    except RuntimeError:  # some look at values while they are built: with memory they can, or say what is wrong
        return FixedBackbone(network, out_stages).to("meta")


def fresh_network(network: AnyNetwork, *, seed: int, out_stages: Sequence[str] | None = None) -> AnyBackbone:
    """Build any network with fresh weights: a code's as ``build_backbone``, another's as its library has them.

    Args:
        network: which one.
        seed: of its first values.
        out_stages: names of the stages to return; all by default.

    Raises:
        CodeError: it has no such stage.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(network, Architecture):
        return build_backbone(network, out_stages=out_stages, generator=generator)
    if isinstance(network, Composition):
        composed = blank_network(network, out_stages)
        composed.fill(generator)  # type: ignore[operator]
        return composed
    with torch.random.fork_rng(devices=[]):  # libraries draw from torch's own generator
        torch.manual_seed(seed)
        return FixedBackbone(network, out_stages)


def fresh_values(network: FixedNetwork | Composition, generator: torch.Generator) -> Mapping[str, Tensor]:
    """Return first values of all parameters and buffers by name, those that no file keeps included.

    Args:
        network: which one.
        generator: gives the seed.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    module = fresh_network(network, seed=seed)
    return {name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())}
