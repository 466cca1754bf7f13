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
MOST = 64
"""Multiples of a base that are tried where the stem refuses it."""


class StemContract:
    """A stem brings images to a quarter, is what its layers say, and is inherited.

    Attributes:
        stem: that is tested; it must be registered.
        base: channels of what it gives, in small networks; a multiple of it where the stem refuses that.
    """

    stem: StemSpec
    base = 8

    def test_images_come_out_at_a_quarter(self) -> None:
        """Of ``base`` channels and ceil(H/4) × ceil(W/4), whatever the image's size."""
        stem = self._backbone().eval().stem
        for height, width in SIZES:
            found = stem(torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0)))
            assert tuple(found.shape) == (2, self._base(), -(-height // 4), -(-width // 4)), (
                f"of {height}x{width} pixels"
            )
            assert found.isfinite().all()

    def test_the_module_is_what_the_layers_say(self) -> None:
        """Parameters and sizes are counted from the layers and ``pools``: so many, and a quarter of the image."""
        backbone = self._backbone()
        small, large = (backbone_cost(backbone.architecture, side, side) for side in (64, 128))
        assert small.parameters == sum(parameter.numel() for parameter in backbone.parameters())
        assert 0 < small.multiply_adds < large.multiply_adds
        counted = [(stage.width, stage.height) for stage in (small.stages[0], large.stages[0])]
        assert counted == [(16, 16), (32, 32)], f"by the layers, 64 and 128 pixels come out as {counted}"

    def test_a_base_is_refused_or_built(self) -> None:
        """What ``check`` lets pass has layers with channels and is built; what it refuses is a ``CodeError``."""
        for base in range(1, self._base() + 1):
            try:
                self.stem.check(base)
            except CodeError:
                continue
            layers = self.stem.layers(base)
            assert layers, f"base {base} has no layers"
            assert all(layer.out_channels > 0 for layer in layers), f"base {base} has a layer without channels"
            assert layers[0].in_channels == 3, "images have three channels"
            given = layers[-1].out_channels
            assert given == base, f"the last layer gives {given} channels, and not {base}"
            with torch.device("meta"):
                assert self.stem.build(base)(torch.empty(1, 3, 8, 8)).shape[1] == base

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
        architecture = Architecture.parse(f"b@{self._base()}+{self.stem.name}_11-21")
        return build_backbone(architecture, generator=torch.Generator().manual_seed(0))

    def _base(self) -> int:
        """The least multiple of ``base`` that the stem takes."""
        for base in range(self.base, self.base * MOST + 1, self.base):
            try:
                self.stem.check(base)
            except CodeError:
                continue
            return base
        raise AssertionError(f"none of {self.base}, {2 * self.base} … {self.base * MOST} is taken as a base")
