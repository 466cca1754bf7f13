"""The contract suites over everything built in; and that they see what is wrong."""

from dataclasses import dataclass, replace

import pytest

from spnas_core.blocks import ResidualBlock, block_spec
from spnas_core.errors import PluginError
from spnas_core.morphisms import AddRow, AddStage, Expand, Narrow, Remove, Rewrite, Step, Swap, Widen, morphisms
from spnas_core.networks import prototypes
from spnas_core.testing import BlockContract, MorphismContract


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


class TestAddRow(MorphismContract):
    morphism = AddRow()


class TestAddSharedRow(MorphismContract):
    morphism = AddRow(shares=True)


class TestBasic(BlockContract):
    spec = block_spec("b")


class TestBottleneck(BlockContract):
    spec = block_spec("r")


class TestResNeXt(BlockContract):
    spec, base = block_spec("x32x4d"), 32


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


def test_a_block_that_gives_negative_outputs_is_seen(monkeypatch):
    def without_relu(block, x):
        residual = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        return residual + (x if block.projection is None else block.projection(x))

    monkeypatch.setattr(ResidualBlock, "forward", without_relu)
    with pytest.raises(AssertionError, match="a block gives what is not negative"):
        suite(BlockContract, spec=block_spec("b"))().test_the_module_is_what_the_layers_say()


@pytest.mark.parametrize("norm", ["bn9", "projection.bn"])
def test_a_silent_norm_that_is_not_there_is_refused_by_name(monkeypatch, norm):
    wrong = block_spec("b")
    monkeypatch.setattr(prototypes, "_prototypes", {})
    monkeypatch.setattr(type(wrong), "silent_norm", norm)
    with pytest.raises(PluginError, match=rf"'b' describes .* does not build: .* '{norm}.weight' is missing"):
        prototypes.instance(wrong, 8, 8, 1)
