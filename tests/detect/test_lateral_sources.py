"""Which of the parent's laterals a child's lateral is made of, where channels have come, gone and moved."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core import Architecture
from spnas_core.inheritance import TensorCopy
from spnas_core.morphisms import Expand, Halve, Rewrite, Swap, Widen, identity
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.building import NECK, detector_maps
from spnas_detect.necks.levels import LevelMap, source_stages

NECKS = ["fpn", "pafpn", "bifpn", "nas-fpn", "hrfpn", "dpc"]


def build(rewrite: Rewrite, parent=None, neck: str = "fpn"):
    settings = DetectorSettings(neck=neck, neck_channels=8, head_channels=16)
    return build_detector(rewrite, 2, settings, parent or {}, generator=torch.Generator().manual_seed(0))


def moved_and_doubled() -> Rewrite:
    """b@8_1-12-1 to b@8_2-1-21, whose stage 2 continues stage 1, and has as many channels as the parent's stage 2."""
    moved = Swap().move(Architecture.parse("b@8_1-12-1"), 1, -1)
    return moved.then(Widen().double(moved.child, 0))


def laterals(rewrite: Rewrite, neck: str) -> dict[int, dict[str, TensorCopy]]:
    """By level and name behind it, the copies that make the child's laterals: all tensors that may have two sources."""
    parent, _, _ = build(identity(rewrite.parent), neck=neck)
    child, plan, _ = build(rewrite, parent.state_dict(), neck)
    found: dict[int, dict[str, TensorCopy]] = {}
    for name in (name.removeprefix(NECK) for name in child.state_dict() if name.startswith(NECK)):
        if child.neck.reads(name) is not None:
            head = name.partition(f".{child.neck.reads(name)}.")[0]
            level = int(name.removeprefix(f"{head}.").partition(".")[0])
            own = f"{NECK}{head}.{level}."
            found[level] = {c.target.removeprefix(own): c for c in plan.copies if c.target.startswith(own)}
    return found


def source_level(copy: TensorCopy, inner: str) -> int:
    return int(copy.source.removesuffix(f".{inner}").rpartition(".")[2])


@pytest.mark.parametrize("neck", NECKS)
def test_a_lateral_follows_its_channels_before_it_takes_a_source_of_equal_shape(neck):
    rewrite = moved_and_doubled()
    assert str(rewrite.child) == "b@8_2-1-21"
    assert source_stages(rewrite) == (0, 0, 2)
    for level, copies in laterals(rewrite, neck).items():
        assert {source_level(copy, inner) for inner, copy in copies.items()} == {(0, 0, 2)[level]}
        assert sum(copy.route is not None for copy in copies.values()) == 1  # the convolution's; all else fits as it is
        assert not any(copy.overlap for copy in copies.values())


@pytest.mark.parametrize("neck", ["fpn", "bifpn"])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31 - 1))
def test_all_tensors_of_a_lateral_come_from_the_first_source_that_is_continued(neck, seed):
    rng = np.random.default_rng(seed)
    rewrite = identity(Architecture.parse(["b@4_1-12-1", "r@4_11-2-1", "m1k3@4_1-21-12"][seed % 3]))
    for kind in rng.permutation([Swap(), Swap(), Widen(), Widen(), Halve(), Expand()])[:4]:
        if options := kind.options(rewrite.child):
            rewrite = rewrite.then(options[rng.integers(len(options))])
    levels, maps = LevelMap.of_all_stages(rewrite), detector_maps(rewrite, 0, {})
    for level, copies in laterals(rewrite, neck).items():
        taken = {source_level(copy, inner) for inner, copy in copies.items()}
        continued = [one for one in levels.laterals(level) if maps.stage_output(level, one) is not None]
        assert taken == {continued[0]} if continued else len(taken) == 1
        assert not continued or not any(copy.overlap for copy in copies.values())
