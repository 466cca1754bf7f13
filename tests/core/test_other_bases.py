"""Weights of a network of another base: the stem follows its channels, as everything behind it does."""

import pytest
import torch

from spnas_core import Architecture, materialise
from spnas_core.inheritance import ChannelMaps, norm_scales, output_change
from spnas_core.morphisms import Rewrite, Step
from spnas_core.testing.drawing import uneven_backbone

PAIRS = [
    ("b@8_11-21", "b@16_11-21"),
    ("b@8_11-21", "b@20_11-21"),
    ("r@8_11-21", "r@16_11-21"),
    ("m6k3@8_11-21", "m6k3@16_11-21"),
    ("b@8+deep_11-21", "b@16+deep_11-21"),
    ("r@4+deep_11-21", "r@12+deep_11-21"),
    ("b@8_21-21", "b@16_21-21"),
]


def made(before, after, seed=0):
    one, other = Architecture.parse(before), Architecture.parse(after)
    rewrite = Rewrite(one, other, tuple(range(len(one.digits))), (Step("another base", after, None),))
    parent = uneven_backbone(rewrite.parent, 0)
    child, receipt = materialise(rewrite, parent.state_dict(), seed=seed)
    return parent.eval(), child.eval(), receipt, ChannelMaps(rewrite, seed, norm_scales(parent.state_dict()))


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_wider_base_keeps_outputs(before, after):
    parent, child, receipt, maps = made(before, after)
    assert not [name for name in (*receipt.added, *receipt.dropped) if name.startswith("stem.")]
    change = output_change(parent, child, torch.randn(2, 3, 64, 64), maps)
    assert change
    assert max(change.values()) < 1e-4


@pytest.mark.parametrize(("after", "before"), PAIRS)
def test_a_narrower_base_keeps_the_loudest_channels(before, after):
    parent, child, receipt, maps = made(before, after)
    assert not [name for name in (*receipt.added, *receipt.dropped) if name.startswith("stem.")]
    kept = maps.stream(-1, -1).indices
    if parent.architecture.block == "r":
        loud = sorted(range(maps.stream(-1, -1).count), key=lambda one: -abs(norms(parent)[one]))[: len(kept)]
        assert sorted(kept.tolist()) == sorted(loud)
    else:
        assert maps.stream(-1, -1) is maps.stream(*[child_stream(maps)] * 2)
    name = next(name for name in reversed(parent.stem.state_dict()) if name.endswith("weight") and "bn" in name)
    assert torch.equal(child.stem.state_dict()[name], parent.stem.state_dict()[name][torch.from_numpy(kept)])


def norms(backbone):
    names = [name for name in backbone.stem.state_dict() if name.endswith("weight") and "bn" in name]
    return backbone.stem.state_dict()[names[-1]].tolist()


def child_stream(maps):
    return maps._children[0].out_stream if maps._passes_stem else -1


def test_where_the_first_shortcut_is_the_identity_its_channels_are_the_stems():
    for before, after in PAIRS:
        *_, maps = made(before, after)
        first = maps._children[0]
        if first.shortcut == "identity":
            assert maps.stream(-1, -1) is maps.stream(first.out_stream, first.out_stream)
