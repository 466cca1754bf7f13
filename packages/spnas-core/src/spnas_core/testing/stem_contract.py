"""What every stem must keep, as a suite to run over one's own.

With pytest, subclass it in a test file and name what is tested:

    from spnas_core.testing import StemContract

    class TestMine(StemContract):
        stem = ConvolutionalStem("mine", "5x5 and 3x3 convolutions", (5, 3), pools=False)
"""

import torch

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.inheritance import materialise
from spnas_core.morphisms import Swap, identity
from spnas_core.networks import Backbone, build_backbone
from spnas_core.stems import StemSpec

SIZES = ((64, 64), (1, 1), (33, 97), (102, 131))
"""(height, width) in pixels of the images."""
BASES = (1, 2, 3, 8)


class StemContract:
    """A stem brings images to a quarter, is what its layers say, and is inherited.

    Attributes:
        stem: that is tested; it must be registered.
        base: channels of what it gives, in small networks.
    """

    stem: StemSpec
    base = 8

    def test_images_come_out_at_a_quarter(self) -> None:
        """Of ``base`` channels and ceil(H/4) × ceil(W/4), whatever the image's size."""
        stem = self._backbone().eval().stem
        for height, width in SIZES:
            found = stem(torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0)))
            assert tuple(found.shape) == (2, self.base, -(-height // 4), -(-width // 4)), f"of {height}x{width} pixels"
            assert found.isfinite().all()

    def test_the_module_is_what_the_layers_say(self) -> None:
        """Parameters are counted from the layers, and a larger image takes more multiply-adds."""
        backbone = self._backbone()
        small, large = (backbone_cost(backbone.architecture, side, side) for side in (64, 128))
        assert small.parameters == sum(parameter.numel() for parameter in backbone.parameters())
        assert 0 < small.multiply_adds < large.multiply_adds

    def test_a_base_is_refused_or_built(self) -> None:
        """What ``check`` lets pass has layers with channels; what it refuses is a ``CodeError``."""
        built = []
        for base in BASES:
            try:
                self.stem.check(base)
            except CodeError:
                continue
            layers = self.stem.layers(base)
            assert layers, f"base {base} has no layers"
            assert all(layer.out_channels > 0 for layer in layers), f"base {base} has a layer without channels"
            assert layers[0].in_channels == 3, "images have three channels"
            assert layers[-1].out_channels == base, (
                f"the last layer gives {layers[-1].out_channels} channels, not {base}"
            )
            built.append(base)
        assert built, f"none of {BASES} is taken"

    def test_it_learns(self) -> None:
        """Every parameter has a gradient, in training, of what the network gives."""
        backbone = self._backbone().train()
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        torch.autograd.backward([level.square().mean() for level in backbone(images).values()])
        assert [name for name, one in backbone.stem.named_parameters() if one.grad is None] == []

    def test_children_inherit_it(self) -> None:
        """All of it, under every change of what stands behind."""
        parent = self._backbone()
        for rewrite in (identity(parent.architecture), *Swap().options(parent.architecture)):
            child, _ = materialise(rewrite, parent.state_dict(), seed=0)
            found = child.stem.state_dict()
            for name, tensor in parent.stem.state_dict().items():
                assert torch.equal(found[name], tensor), f"{name} under {rewrite.child}"

    def _backbone(self) -> Backbone:
        """A small network that begins with it."""
        architecture = Architecture.parse(f"b@{self.base}+{self.stem.name}_11-21")
        return build_backbone(architecture, generator=torch.Generator().manual_seed(0))
