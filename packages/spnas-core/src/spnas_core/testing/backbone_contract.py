"""What every source of networks by name must keep, as a suite to run over one's own.

With pytest, subclass it in a test file and name what is tested:

    from spnas_core.testing import BackboneContract

    class TestMine(BackboneContract):
        provider = "mine"
"""

import math
from collections.abc import Iterator

import torch

from spnas_core.backbones import FixedNetwork, blank_network, fresh_network
from spnas_core.cost import backbone_cost

SIZES = ((64, 64), (1, 1), (33, 97), (100, 132))
"""(height, width) in pixels of the images."""

SEED = 5


class BackboneContract:
    """Networks give what they say, at every size, and the same from the same seed.

    Attributes:
        provider: that is tested, by the name under which it is registered.
        names: networks to try; empty for the first ones.
        most: how many of them where none are named.
    """

    provider: str
    names: tuple[str, ...] = ()
    most = 3

    def test_names_are_different(self) -> None:
        """Each stands for one network."""
        names = FixedNetwork(self.provider, self._names()[0]).source.names()
        assert len(set(names)) == len(names), "a name comes twice"

    def test_levels_are_as_large_as_they_say(self) -> None:
        """Of C channels, and of ceil(H / r) × ceil(W / r), whatever the image's size."""
        for network in self._networks():
            backbone = blank_network(network).eval()
            for height, width in SIZES:
                found = backbone(torch.empty(2, 3, height, width, device="meta"))
                expected = {
                    one.name: (2, one.channels, math.ceil(height / one.reduction), math.ceil(width / one.reduction))
                    for one in network.feature_info.stages
                }
                assert {name: tuple(level.shape) for name, level in found.items()} == expected, f"{network}"

    def test_first_values_follow_from_the_seed(self) -> None:
        """Two networks of one seed are alike, and torch's own generator is left as it was."""
        for network in self._networks():
            before = torch.random.get_rng_state()
            one, other = (fresh_network(network, seed=SEED).state_dict() for _ in range(2))
            assert torch.equal(before, torch.random.get_rng_state())
            assert all(torch.equal(one[name], other[name]) for name in one), f"{network}"
            assert all(torch.isfinite(tensor).all() for tensor in one.values()), f"{network}"

    def test_it_trains(self) -> None:
        """Every level has a gradient with respect to some parameter."""
        for network in self._networks():
            backbone = fresh_network(network, seed=SEED).train()
            images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
            sum(level.square().mean() for level in backbone(images).values()).backward()
            assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in backbone.parameters()), f"{network}"

    def test_costs_are_counted(self) -> None:
        """A larger image takes more, and as many parameters."""
        for network in self._networks():
            small, large = backbone_cost(network, 64, 64), backbone_cost(network, 128, 128)
            assert 0 < small.multiply_adds < large.multiply_adds
            assert 0 < small.parameters == large.parameters

    def _names(self) -> tuple[str, ...]:
        from spnas_core.plugins import registry

        return self.names or tuple(registry("backbones").get(self.provider).names()[: self.most])

    def _networks(self) -> Iterator[FixedNetwork]:
        for name in self._names():
            yield FixedNetwork(self.provider, name)
