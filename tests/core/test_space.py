from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.errors import SpaceError
from spnas_core.space.clashes import clashes
from spnas_core.testing import architectures

CODE = Architecture.parse("b@8_11-21-21")  # 6 blocks in 3 stages
EVERYTHING = {"min_blocks": 1, "max_blocks": 99, "min_stages": 1, "max_stages": 99, "max_rows": 99}


def space(**bounds) -> SearchSpace:
    return SearchSpace(**(EVERYTHING | bounds))


@pytest.mark.parametrize(
    ("bounds", "explanation"),
    [
        ({"min_blocks": 7}, "6 blocks where min_blocks = 7"),
        ({"max_blocks": 5}, "6 blocks where max_blocks = 5"),
        ({"min_stages": 4}, "3 stages where min_stages = 4"),
        ({"max_stages": 2}, "3 stages where max_stages = 2"),
        ({"block_types": ("r", "x32x4d")}, "block type 'b' where block_types = r, x32x4d"),
    ],
)
def test_a_broken_bound_is_explained_with_its_numbers(bounds, explanation):
    assert space(**bounds).violations(CODE) == (explanation,)
    with pytest.raises(SpaceError) as caught:
        space(**bounds).check(CODE)
    assert str(caught.value) == f"b@8_11-21-21 lies outside the search space: {explanation}"


@pytest.mark.parametrize("cost", ["parameters", "multiply_adds", "activation_bytes"])
def test_a_broken_cost_bound_is_explained_with_its_numbers(cost):
    exact = backbone_cost(CODE, 224, 224).as_dict()[cost]
    assert space(**{f"max_{cost}": exact}).violations(CODE) == ()
    assert space(**{f"max_{cost}": exact - 1}).violations(CODE) == (
        f"{exact:,} {cost} where max_{cost} = {exact - 1:,}",
    )


def test_rows_are_counted_beside_each_stage():
    code = Architecture.parse("b@8_11-21-21_2-1-3")
    assert space(max_rows=1).violations(code) == (
        "2 rows beside stage 1 where max_rows = 1",
        "3 rows beside stage 3 where max_rows = 1",
    )
    assert code in space(max_rows=3)


def test_all_violations_are_listed_together():
    code = Architecture.parse("b@8_11-21-21_0-0-2")
    found = space(
        min_blocks=9, max_stages=2, max_rows=1, block_types=("r",), max_parameters=10, max_multiply_adds=20
    ).violations(code)
    assert [text.partition(" where ")[2].split(" = ")[0] for text in found] == [
        "min_blocks",
        "max_stages",
        "max_rows",
        "block_types",
        "max_parameters",
        "max_multiply_adds",
    ]
    with pytest.raises(SpaceError, match="; ".join(["9", "3 stages", "2 rows", "block type"]).replace("; ", ".*; ")):
        space(min_blocks=9, max_stages=2, max_rows=1, block_types=("r",)).check(code)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_blocks": 9, "max_blocks": 8}, "min_blocks 9 is above max_blocks 8"),
        ({"min_stages": 3, "max_stages": 2}, "min_stages 3 is above max_stages 2"),
    ],
)
def test_an_empty_space_is_refused(bounds, message):
    with pytest.raises(SpaceError, match=f"{message}: the space would be empty"):
        space(**bounds)
    single = {name: min(bounds.values()) for name in bounds}
    assert space(**single)


def bounds():
    return st.fixed_dictionaries(
        {
            "min_blocks": st.integers(1, 8),
            "max_blocks": st.integers(8, 24),
            "min_stages": st.integers(1, 3),
            "max_stages": st.integers(3, 6),
            "max_rows": st.integers(0, 3),
            "block_types": st.sampled_from([(), ("b",), ("r", "x32x4d")]),
            "max_parameters": st.none() | st.integers(1, 10**8),
            "max_multiply_adds": st.none() | st.integers(1, 10**10),
            "max_activation_bytes": st.none() | st.integers(1, 10**8),
        }
    )


@given(architectures(), bounds())
def test_membership_is_having_no_violation_and_passing_the_check(architecture, chosen):
    searched = SearchSpace(**chosen)
    inside = architecture in searched
    assert inside == (searched.violations(architecture) == ())
    try:
        searched.check(architecture)
    except SpaceError:
        assert not inside
    else:
        assert inside


@given(architectures(), bounds())
def test_membership_is_what_the_bounds_say(architecture, chosen):
    cost = backbone_cost(architecture, 224, 224)
    limits = [
        (cost.parameters, chosen["max_parameters"]),
        (cost.multiply_adds, chosen["max_multiply_adds"]),
        (cost.activation_bytes, chosen["max_activation_bytes"]),
    ]
    assert (architecture in SearchSpace(**chosen)) == (
        chosen["min_blocks"] <= len(architecture.digits) <= chosen["max_blocks"]
        and chosen["min_stages"] <= len(architecture.stages) <= chosen["max_stages"]
        and max(architecture.rows, default=0) <= chosen["max_rows"]
        and architecture.block in (chosen["block_types"] or (architecture.block,))
        and all(limit is None or value <= limit for value, limit in limits)
    )


def test_the_multiply_add_bound_holds_at_the_spaces_image_size():
    limit = backbone_cost(CODE, 96, 64).multiply_adds
    assert CODE in space(max_multiply_adds=limit, image_size=(96, 64))
    assert space(max_multiply_adds=limit, image_size=(96, 96)).violations(CODE) == (
        f"{backbone_cost(CODE, 96, 96).multiply_adds:,} multiply_adds where max_multiply_adds = {limit:,}",
    )
    # Width and height are not mixed up: 100 x 20 pixels round to other feature sizes than 20 x 100 would suggest.
    assert CODE in space(max_multiply_adds=backbone_cost(CODE, 97, 33).multiply_adds, image_size=(97, 33))


def test_the_defaults_are_the_papers_bounds():
    paper = SearchSpace()
    assert Architecture.parse("r_11-21-21-1-1") in paper
    assert Architecture.parse("r_1-2-2-1-1") not in paper
    assert Architecture.parse("r_11-21-21-11") not in paper
    assert Architecture.parse("r_" + "-".join(["1" * 12] * 5)) in paper
    assert Architecture.parse("r_" + "-".join(["1" * 12] * 5) + "1") not in paper


COSTS = ("parameters", "multiply_adds", "activation_bytes")


@given(architectures(), st.data())
def test_no_architecture_costs_less_than_the_least(code, data):
    blocks, stages = len(code.digits), len(code.stages)
    bounds = {
        "min_blocks": data.draw(st.integers(1, blocks)),
        "min_stages": data.draw(st.integers(1, stages)),
        "max_stages": stages + data.draw(st.integers(0, 2)),
        "image_size": (64, 64),
    }
    exact = backbone_cost(code, 64, 64).as_dict()
    for name in COSTS:
        assert clashes(space(**bounds, **{f"max_{name}": int(exact[name])}), code) == ()


@pytest.mark.parametrize("cost", COSTS)
def test_bounds_that_clash_are_named_with_their_numbers(cost):
    within = space(min_blocks=8, min_stages=5, max_stages=7)
    least = min(
        int(backbone_cost(Architecture.parse(f"b@8_{code}"), 224, 224).as_dict()[cost])
        for code in ("1-1-1-1-1111", "1-1-1-1-1-111", "1-1-1-1-1-1-11")
    )
    (said,) = clashes(replace(within, **{f"max_{cost}": least - 1}), CODE)
    assert said.startswith(
        f"no architecture like it keeps max_{cost} = {least - 1:,} beside min_blocks = 8 and min_sta"
    )
    assert said.endswith(f"has {least:,}")
    assert clashes(replace(within, **{f"max_{cost}": least}), CODE) == ()
    with pytest.raises(SpaceError, match=f"where max_{cost} = 5; no architecture like it keeps max_{cost} = 5"):
        space(**{f"max_{cost}": 5}).check(CODE)


def test_more_stages_than_blocks_are_refused():
    with pytest.raises(SpaceError, match="min_stages 6 is above max_blocks 5, and every stage has a block"):
        SearchSpace(min_blocks=2, max_blocks=5, min_stages=6)
