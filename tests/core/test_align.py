"""What any architecture inherits from any other."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core import Architecture, build_backbone
from spnas_core.errors import CodeError
from spnas_core.inheritance import materialise
from spnas_core.morphisms import align, identity, morphisms
from spnas_core.networks import block_placements
from spnas_core.testing import parallel_architectures, serial_architectures


def copies(rewrite, block_map=None) -> int:
    """Residual branches that are copied as they are."""
    old, new = block_placements(rewrite.parent), block_placements(rewrite.child)
    pairs = zip(rewrite.block_map if block_map is None else block_map, new, strict=True)
    same = [(s, b) for s, b in pairs if s is not None]
    return sum((old[s].in_channels, old[s].planes) == (b.in_channels, b.planes) for s, b in same)


def stages_kept(rewrite, block_map) -> int:
    old, new = block_placements(rewrite.parent), block_placements(rewrite.child)
    taken = [(old[s], b) for s, b in zip(block_map, new, strict=True) if s is not None]
    return sum((a.in_channels, a.planes, a.stage) == (b.in_channels, b.planes, b.stage) for a, b in taken)


def all_maps(parent: Architecture, child: Architecture):
    """Every map that keeps the order, by brute force."""
    old, new = len(parent.digits), len(child.digits)
    for count in range(min(old, new) + 1):
        for places in itertools.combinations(range(new), count):
            for sources in itertools.combinations(range(old), count):
                taken = dict(zip(places, sources, strict=True))
                yield tuple(taken.get(place) for place in range(new))


def alike(parent: Architecture, child: Architecture) -> Architecture:
    """The child with the parent's block type and stem."""
    base = child.base if child.block == parent.block else parent.base
    return Architecture(parent.block, child.stages, base, parent.stem, child.rows, child.shares_rows)


SMALL = serial_architectures().filter(lambda code: len(code.digits) <= 6)


@settings(max_examples=60)
@given(SMALL, SMALL)
def test_no_map_that_keeps_the_order_copies_more(parent, child):
    child = alike(parent, child)
    rewrite = align(parent, child)
    sources = [source for source in rewrite.block_map if source is not None]
    assert sources == sorted(set(sources))
    values = [
        (copies(rewrite, found), stages_kept(rewrite, found), sum(source is not None for source in found))
        for found in all_maps(parent, child)
    ]
    own = rewrite.block_map
    assert (copies(rewrite), stages_kept(rewrite, own), len(sources)) == max(values)


@given(parallel_architectures())
def test_an_architecture_is_its_own(code):
    assert align(code, code) == identity(code)


@settings(max_examples=60)
@given(parallel_architectures(), st.randoms(use_true_random=False))
def test_it_copies_no_less_than_a_chain_of_morphisms(code, random):
    rewrite = identity(code)
    for _ in range(3):
        options = [option for found in morphisms().values() for option in found.options(rewrite.child)]
        rewrite = rewrite.then(random.choice(options))
    aligned = align(code, rewrite.child)
    assert copies(aligned) >= copies(rewrite)


@settings(max_examples=60, deadline=None)
@given(parallel_architectures(), parallel_architectures())
def test_whatever_is_aligned_can_be_made(parent, child):
    """Also where bases differ: a network of another width inherits through its channels."""
    child = alike(parent, child)
    before = build_backbone(parent, generator=torch.Generator().manual_seed(0))
    backbone, receipt = materialise(
        align(parent, child), before.state_dict(), generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        features = backbone.eval()(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)))
    assert all(torch.isfinite(feature).all() for feature in features.values())
    told = receipt.as_dict()
    assert 0 <= told["inherited_percent"] <= 100


def test_a_longer_network_of_other_borders_keeps_what_it_can():
    rewrite = align(Architecture.parse("b@8_11-21-21-21"), Architecture.parse("b@8_111-21-2-121-1"))
    assert rewrite.block_map == (0, 1, None, 2, 3, 4, 5, 6, 7, None)
    assert str(rewrite.steps[0]) == "align: 8 of 10 residual branches are those of b@8_11-21-21-21"
    assert rewrite.promise is None


def test_other_blocks_and_stems_are_refused():
    with pytest.raises(CodeError, match="cannot inherit from b_1-1: their block types 'r' and 'b' differ"):
        align(Architecture.parse("b_1-1"), Architecture.parse("r_1-1"))
    with pytest.raises(CodeError, match="cannot inherit from b_1-1: their stems 'deep' and 'conv7' differ"):
        align(Architecture.parse("b_1-1"), Architecture.parse("b+deep_1-1"))
