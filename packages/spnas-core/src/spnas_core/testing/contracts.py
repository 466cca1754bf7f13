"""What every morphism and every block type must keep, as suites to run over one's own.

A suite is a class of plain tests. With pytest, subclass it in a test file and name what is tested:

    from spnas_core.testing import MorphismContract

    class TestMine(MorphismContract):
        morphism = Mine()
"""

import numpy as np
import torch

from spnas_core.blocks import BlockFamily, BlockSpec, block_spec
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.inheritance import ChannelMaps, calibrate_pass_through, materialise, norm_scales, output_change
from spnas_core.inheritance.plan import plan_inheritance, tensor_shapes
from spnas_core.morphisms import Expand, Morphism, Rewrite, Swap, Widen, morphisms
from spnas_core.networks import Backbone, build_backbone
from spnas_core.testing.drawing import random_architecture, random_images, uneven_backbone

SEED = 20
MOST = 64
"""Multiples of a base that are tried."""


class MorphismContract:
    """Rewrites are valid, pure, and keep what their steps promise.

    Attributes:
        morphism: that is tested.
        architectures: how many are drawn; where the morphism has ``examples``, architectures that it is for, they are
            tried, too.
    """

    morphism: Morphism
    architectures = 12

    def test_it_has_a_name_and_a_summary(self) -> None:
        """Listings and settings name it."""
        assert self.morphism.name.replace("-", "").isalnum(), "a name has letters, digits and hyphens"
        assert self.morphism.summary, "a summary says in one line what it does"

    def test_options_are_valid_and_the_same_each_time(self) -> None:
        """Every option starts from the architecture, leads to another one, and says who did it."""
        for architecture in self._drawn():
            options = list(self.morphism.options(architecture))
            assert options == list(self.morphism.options(architecture)), "options are a pure function"
            for option in options:
                assert option.parent == architecture
                assert option.child != architecture, f"{option} changes nothing"
                assert Architecture.parse(str(option.child)) == option.child
                assert [step.morphism for step in option.steps] == [self.morphism.name]

    def test_some_architecture_has_options(self) -> None:
        """A morphism that never applies is a mistake."""
        assert any(len(self.morphism.options(architecture)) for architecture in self._drawn())

    def test_children_inherit_every_tensor_once(self) -> None:
        """The plan covers the child, and its receipt adds up."""
        for seed, option in enumerate(self._options()):
            parent = build_backbone(option.parent, generator=torch.Generator().manual_seed(seed))
            child, receipt = materialise(option, parent.state_dict(), seed=seed)
            plan = plan_inheritance(option, tensor_shapes(child), tensor_shapes(parent))
            targets = [copy.target for copy in plan.copies] + [fill.target for fill in plan.fills]
            assert sorted(targets) == sorted(child.state_dict()), f"{option.steps[0]} of {option.parent}"
            counted = receipt.copied + receipt.expanded + receipt.new
            assert counted == sum(parameter.numel() for parameter in child.parameters())

    def test_promises_are_kept(self) -> None:
        """Outputs change by no more than a step says, in evaluation mode, compared through the channel maps."""
        for seed, option in enumerate(self._options()):
            parent = uneven_backbone(option.parent, seed)
            child = child_of(option, parent, seed)
            change = output_change(parent, child, random_images(seed), _maps(option, parent, seed))
            assert change, f"{option.steps[0]} of {option.parent}: no level can be compared"
            worst = max(change.values())
            assert np.isfinite(worst), f"{option.steps[0]} of {option.parent} gives outputs that are not finite"
            if option.promise is not None:
                assert worst <= option.promise, f"{option.steps[0]} of {option.parent} changed outputs by {worst}"

    def test_it_composes_with_the_others(self) -> None:
        """Before and behind any other morphism a child can be built."""
        for seed, option in enumerate(self._options()):
            for other in morphisms().values():
                following = other.options(option.child)
                if following:
                    both = option.then(following[seed % len(following)])
                    materialise(both, build_backbone(option.parent).state_dict(), seed=seed)

    def _drawn(self) -> list[Architecture]:
        rng = np.random.default_rng(SEED)
        drawn = [random_architecture(rng) for _ in range(self.architectures)]
        return [*drawn, *getattr(self.morphism, "examples", ())]

    def _options(self) -> list[Rewrite]:
        """One option of each architecture that has any."""
        chosen = []
        for number, architecture in enumerate(self._drawn()):
            options = self.morphism.options(architecture)
            if options:
                chosen.append(options[number % len(options)])
        return chosen


class BlockContract:
    """A block type's module is what its layers say, and can be inherited.

    Attributes:
        spec: that is tested, or a family, of which the examples are; it must be registered.
        base: channels of small networks of it, before expansion; a multiple of it where the type refuses it.
    """

    spec: BlockSpec | BlockFamily
    base = 8

    def test_the_module_is_what_the_layers_say(self) -> None:
        """Parameters are counted from the layers; outputs have the described shape."""
        for spec in self._specs():
            for code in ("11-21", "12-1-2"):
                architecture = self._code(spec, code)
                backbone = build_backbone(architecture)
                counted = backbone_cost(architecture, 64, 64).parameters
                assert counted == sum(parameter.numel() for parameter in backbone.parameters())
                for info, features in zip(
                    backbone.feature_info.stages, backbone.eval()(random_images(0)).values(), strict=True
                ):
                    side = -(-64 // info.reduction)
                    assert tuple(features.shape) == (4, info.channels, side, side)

    @torch.no_grad()
    def test_a_silent_block_keeps_what_such_a_block_gives(self) -> None:
        """Where the shape stays and the branch is silent, the block changes none of its own outputs."""
        for spec in self._specs():
            block = uneven_backbone(self._code(spec, "11"), 0).blocks[1]
            for parameter in block.get_submodule(spec.silent_norm).parameters():
                parameter.zero_()
            channels = spec.out_channels(self._base(spec))
            given = block(torch.randn(2, channels, 9, 9, generator=torch.Generator().manual_seed(0)))
            again = block(given.clone())
            assert torch.equal(given, again), f"{spec.name} changes its own outputs, and expand would change those"

    def test_a_new_block_is_silent(self) -> None:
        """Expand changes no output: γ and β of ``silent_norm`` silence the residual branch."""
        for spec in self._specs():
            self._keeps(Expand().insert(self._code(spec, "11-21"), 1, 1))

    def test_a_wider_block_keeps_its_outputs(self) -> None:
        """The layers say which channels each tensor reads and gives; at least one of four blocks can be widened."""
        for spec in self._specs():
            options = [one for one in Widen().options(self._code(spec, "11-12")) if one.promise is not None]
            assert options, f"{spec.name} loses a shortcut wherever it is widened"
            for rewrite in options:
                self._keeps(rewrite)

    def test_a_projection_that_is_new_passes_its_input_through(self) -> None:
        """Swap makes a block strided that was not."""
        for spec in self._specs():
            rewrite = Swap().move(self._code(spec, "111-21"), 0, -1)
            child = child_of(rewrite, uneven_backbone(rewrite.parent, 0), 0)
            assert all(torch.isfinite(level).all() for level in child(random_images(0)).values())

    def _keeps(self, rewrite: Rewrite) -> None:
        parent = uneven_backbone(rewrite.parent, 0)
        child = child_of(rewrite, parent, 0)
        change = output_change(parent, child, random_images(0), _maps(rewrite, parent, 0))
        assert change
        assert max(change.values()) <= (rewrite.promise or 0), f"{rewrite.steps[0]} changed outputs by {change}"

    def _specs(self) -> list[BlockSpec]:
        if not isinstance(self.spec, BlockFamily):
            return [self.spec]
        assert self.spec.examples, "a family has examples to try"
        return [block_spec(name) for name in self.spec.examples]

    def _code(self, spec: BlockSpec, serial: str) -> Architecture:
        return Architecture(spec.name, tuple(serial.split("-")), self._base(spec), "deep")

    def _base(self, spec: BlockSpec) -> int:
        """The least multiple that the type takes."""
        for base in range(self.base, self.base * MOST, self.base):
            try:
                spec.check(base)
            except CodeError:
                continue
            return base
        raise AssertionError(f"{spec.name} takes no base of {self.base}, {2 * self.base}, …: name one that it takes")


def child_of(rewrite: Rewrite, parent: Backbone, seed: int) -> Backbone:
    """Make a child as a task makes it: inherited, calibrated, in evaluation mode."""
    child, _ = materialise(rewrite, parent.state_dict(), seed=seed)
    plan = plan_inheritance(rewrite, tensor_shapes(child), tensor_shapes(parent), _maps(rewrite, parent, seed))
    calibrate_pass_through(child, plan.pass_through_norms, random_images(seed))
    return child.eval()


def _maps(rewrite: Rewrite, parent: Backbone, seed: int) -> ChannelMaps:
    return ChannelMaps(rewrite, seed, norm_scales(parent.state_dict()))
