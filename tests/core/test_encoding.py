import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas_core import Architecture
from spnas_core.backbones import read_network
from spnas_core.errors import CodeError
from spnas_core.space import SearchSpace
from spnas_core.testing import architectures

AUTHORS_CODES = {
    "r_11121111-21111-112-1111-1111_0-0-2-0-3s": 24,
    "x32x4d+deep_1111-21111-2111111111111111111111111-211-1_1-0-2-1-2s": 38,
}


@given(architectures())
def test_parse_inverts_print(architecture):
    assert Architecture.parse(str(architecture)) == architecture


@given(architectures(), architectures())
def test_equal_architectures_and_only_they_print_equally(one, other):
    assert (str(one) == str(other)) == (one == other)


@given(st.text("brx0123456789@+_-sd()conv", max_size=30))
def test_any_text_parses_to_what_prints_back_or_is_refused(text):
    try:
        architecture = Architecture.parse(text)
    except CodeError:
        return
    assert Architecture.parse(str(architecture)) == architecture


@pytest.mark.parametrize(("code", "blocks"), AUTHORS_CODES.items())
def test_authors_networks_have_their_published_number_of_blocks(code, blocks):
    architecture = Architecture.parse(code)
    assert len(architecture.digits) == blocks
    assert architecture.shares_rows
    assert str(architecture) == code


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("b@64_11-21", "b_11-21"),
        ("b+conv7_11-21", "b_11-21"),
        ("x(32x4d)_11-21", "x32x4d_11-21"),
        ("b_11-21_0-0", "b_11-21"),
        ("b_11-21_0-0s", "b_11-21"),
        (" r@32_1-2_0-1 ", "r@32_1-2_0-1"),
    ],
)
def test_defaults_and_aliases_are_left_out(spelling, canonical):
    assert str(Architecture.parse(spelling)) == canonical


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("b_11--21", "stage 2 of '11--21' is empty: every stage needs at least one block"),
        ("b_11-231", "block 2 of stage 2 of '11-231' is '3': a block is 1"),
        ("q_11", "no block type is called 'q'"),
        ("x32x4_11", "did you mean 'x32x4d'?"),
        ("b+dep_11", "no stem is called 'dep'; did you mean 'deep'?"),
        ("b_11-21_0-1-2", "has 3 entries for 2 stages"),
        ("b_11-21_0-x", "entry 2 of the parallel code '0-x' is 'x'"),
        ("b_11-21_0-s", "entry 2 of the parallel code '0-s' is ''"),
        ("b@x_11", "base 'x' of 'b@x_11' must be a whole number"),
        ("b@0_11", "base 0 leaves the first stage without channels"),
        ("x32x4d@8_11", "x32x4d@8 gives the 3x3 convolution no channel: the base must be at least 16"),
        ("b@1+deep_11", "halves base 1 to no channel"),
        ("b", "is no architecture code"),
        ("b_11_0_1", "is no architecture code"),
        ("b_", "stage 1 of '' is empty"),
        ("", "is no architecture code"),
        ("b@²_11", "must be a whole number"),
    ],
)
def test_error_says_invariant_value_and_place(code, message):
    with pytest.raises(CodeError) as caught:
        Architecture.parse(code)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("b_" + "-".join("1" * 61), "61 stages and 61 blocks: at most 60 and 10000 are possible"),
        ("b_" + "1" * 10_001, "1 stages and 10001 blocks: at most 60 and 10000 are possible"),
        ("b@8_" + "2" * 22, "22 doublings of base 8: at most 16777216 channels are possible"),
        ("b@99999999_1", "0 doublings of base 99999999: at most 16777216 channels are possible"),
        ("b_1-1_0-99999999", "99999999 rows beside a stage: at most 1000 are possible"),
    ],
)
def test_what_nobody_could_build_is_a_code_that_no_space_and_no_command_takes(code, message):
    everything = {"min_blocks": 1, "max_blocks": 10**6, "min_stages": 1, "max_stages": 10**6, "max_rows": 10**9}
    assert SearchSpace(image_size=(64, 64), **everything).violations(Architecture.parse(code)) == (message,)
    with pytest.raises(CodeError) as caught:
        read_network(code)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@given(architectures())
def test_borders_cut_the_blocks_back_into_the_same_stages(architecture):
    assert Architecture.from_borders(architecture, architecture.digits, architecture.borders) == architecture


def test_borders_that_leave_a_stage_empty_are_refused():
    with pytest.raises(CodeError, match="leave a stage"):
        Architecture.from_borders(Architecture.parse("b_11-21"), "1121", (4,))
