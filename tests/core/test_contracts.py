"""The contract suites over everything built in; and that they see what is wrong."""

from dataclasses import dataclass, replace

import pytest
import torch

from spnas_core.blocks import ResidualBlock, block_families, block_spec
from spnas_core.blocks.inverted import INVERTED_BOTTLENECKS
from spnas_core.blocks.regnet import REGNET_BLOCKS
from spnas_core.errors import PluginError
from spnas_core.morphisms import AddRow, AddStage, Expand, Halve, Narrow, Remove, Rewrite, Step, Swap, Widen, morphisms
from spnas_core.networks import prototypes
from spnas_core.testing import BlockContract, MorphismContract
from spnas_detect.necks.rewiring import Rewire


def suite(kind, **attributes):
    return type(f"Test{kind.__name__}", (kind,), attributes)


class TestSwap(MorphismContract):
    morphism = Swap()


class TestExpand(MorphismContract):
    morphism = Expand()


class TestAddStage(MorphismContract):
    morphism = AddStage()


class TestRemove(MorphismContract):
    morphism = Remove()


class TestWiden(MorphismContract):
    morphism = Widen()


class TestNarrow(MorphismContract):
    morphism = Narrow()


class TestHalve(MorphismContract):
    morphism = Halve()


class TestAddRow(MorphismContract):
    morphism = AddRow()


class TestAddSharedRow(MorphismContract):
    morphism = AddRow(shares=True)


class TestRewire(MorphismContract):
    morphism = Rewire()


class TestBasic(BlockContract):
    spec = block_spec("b")


class TestBottleneck(BlockContract):
    spec = block_spec("r")


class TestResNeXt(BlockContract):
    spec, base = block_spec("x32x4d"), 32


class TestDilated(BlockContract):
    spec = block_spec("d")


class TestInvertedBottlenecks(BlockContract):
    spec = INVERTED_BOTTLENECKS


class TestRegNetBlocks(BlockContract):
    spec = REGNET_BLOCKS


def test_every_built_in_family_has_a_suite():
    assert set(block_families()) == {INVERTED_BOTTLENECKS.name, REGNET_BLOCKS.name}


def test_every_built_in_morphism_has_a_suite():
    suites = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, MorphismContract)]
    assert {kind.morphism.name for kind in suites if hasattr(kind, "morphism")} == set(morphisms())


@dataclass(frozen=True)
class Boasting(Swap):
    """Promises what it does not keep."""

    name: str = "swap"

    def move(self, architecture, border, shift):
        rewrite = super().move(architecture, border, shift)
        return replace(rewrite, steps=(Step(self.name, "boasts", 1e-5),))


@dataclass(frozen=True)
class Idle:
    """Changes nothing."""

    name: str = "idle"
    summary: str = "nothing"

    def options(self, architecture):
        return [Rewrite(architecture, architecture, tuple(range(len(architecture.digits))), (Step("idle", "", 0.0),))]


def test_a_broken_promise_is_seen():
    with pytest.raises(AssertionError, match=r"boasts of .* changed outputs by"):
        suite(MorphismContract, morphism=Boasting())().test_promises_are_kept()


def test_a_morphism_that_changes_nothing_is_seen():
    with pytest.raises(AssertionError, match="changes nothing"):
        suite(MorphismContract, morphism=Idle())().test_options_are_valid_and_the_same_each_time()


def test_a_block_that_changes_its_own_outputs_is_seen(monkeypatch):
    plain = ResidualBlock.forward
    monkeypatch.setattr(ResidualBlock, "forward", lambda block, x: torch.nn.functional.silu(plain(block, x)))
    broken = suite(BlockContract, spec=block_spec("b"))()
    with pytest.raises(AssertionError, match="b changes its own outputs, and expand would change those"):
        broken.test_a_silent_block_keeps_what_such_a_block_gives()
    with pytest.raises(AssertionError, match="block 2 of stage 2 inserted changed outputs by"):
        broken.test_a_new_block_is_silent()


def test_a_family_whose_blocks_are_wrong_is_seen(monkeypatch):
    monkeypatch.setattr(
        ResidualBlock, "_gate", lambda block, x: x.sum((1, 2, 3), keepdim=True) / 1000
    )  # no layer says so
    with pytest.raises(AssertionError, match="doubles the channels changed outputs by"):
        suite(BlockContract, spec=REGNET_BLOCKS)().test_a_wider_block_keeps_its_outputs()


def test_a_base_that_no_block_takes_is_named():
    with pytest.raises(AssertionError, match="g1009 takes no base of 8, 16, …: name one that it takes"):
        suite(BlockContract, spec=block_spec("g1009"))().test_a_new_block_is_silent()


@pytest.mark.parametrize("norm", ["bn9", "projection.bn"])
def test_a_silent_norm_that_is_not_there_is_refused_by_name(monkeypatch, norm):
    wrong = block_spec("b")
    monkeypatch.setattr(prototypes, "_prototypes", {})
    monkeypatch.setattr(type(wrong), "silent_norm", norm)
    with pytest.raises(PluginError, match=rf"'b' describes .* does not build: .* '{norm}.weight' is missing"):
        prototypes.instance(wrong, 8, 8, 1)
