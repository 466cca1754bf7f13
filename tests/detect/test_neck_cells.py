"""Necks from texts: cells of merges (NAS-FPN's space, Auto-FPN's operations), and dense prediction cells."""

from collections import Counter, OrderedDict
from math import factorial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from spnas_core.errors import ConfigError
from spnas_core.networks import FeatureInfo
from spnas_core.networks.features import StageInfo
from spnas_detect.necks import (
    NASFPN,
    draw_branches,
    draw_cell,
    format_branches,
    format_cell,
    neck_factory,
    parse_branches,
    parse_cell,
)
from spnas_detect.necks.dpc import BRANCHES, PUBLISHED, Branch, Dense, operations
from spnas_detect.necks.merging import EDGE_OPERATIONS, Merge
from spnas_detect.necks.nas_fpn import nas_fpn_cell

CELL = "m1@1=gp(in3,in1);m2@1=in1+m1;o0@0=in0+m2;o1@1=m2+o0;o2@2=gp(o1,o0)+in2;o4@4=gp(o2,m2)+in4;o3@3=gp(o4,o2)"
"""The published cell for five levels."""


def pyramid(levels, side=64):
    info = FeatureInfo([StageInfo(f"s{i + 1}", 3 + i, 4 * 2**i) for i in range(levels)])
    sizes = [(-(-side // 2**i), -(-(side - 9) // 2**i)) for i in range(levels)]
    return info, OrderedDict(
        (stage.name, torch.randn(2, stage.channels, *size)) for stage, size in zip(info.stages, sizes, strict=True)
    )


def randomised(module):
    for tensor in module.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    return module.eval()


class TestMerges:
    def test_the_published_cell_is_the_neck_of_that_name(self):
        info, features = pyramid(5)
        torch.manual_seed(0)
        named = randomised(neck_factory("nas-fpn")(info, 8, 2))
        ours = neck_factory(f"merge:{CELL}")(info, 8, 2)
        renamed = {name.replace("attended", "m1").replace("fused", "m2"): x for name, x in named.state_dict().items()}
        ours.load_state_dict(renamed, strict=True)
        for one, other in zip(ours.eval()(features).values(), named(features).values(), strict=True):
            assert torch.equal(one, other)
        assert neck_factory("merge:" + format_cell(nas_fpn_cell(5)))(info, 8).state_dict().keys() == (
            neck_factory("nas-fpn")(info, 8).state_dict().keys()
        )

    @settings(max_examples=60, deadline=None)
    @given(levels=st.integers(2, 7), intermediates=st.integers(0, 4), seed=st.integers(0, 2**31))
    def test_drawn_cells_are_cells_and_their_texts_read_back(self, levels, intermediates, seed):
        cell = draw_cell(levels, np.random.default_rng(seed), intermediates)
        assert parse_cell(format_cell(cell)) == cell
        assert sorted(merge.name for merge in cell if merge.name.startswith("out")) == sorted(
            f"out{level}" for level in range(levels)
        )
        assert len(cell) == levels + intermediates
        known, at = {f"in{level}" for level in range(levels)}, {f"in{level}": level for level in range(levels)}
        read = set()
        for merge in cell:
            assert {*merge.sources, *merge.added} <= known
            assert len(merge.sources) == 2 or not merge.attends
            if merge.attends:
                assert at[merge.sources[0]] >= at[merge.sources[1]]
            read |= {*merge.sources, *merge.added}
            known.add(merge.name)
            at[merge.name] = merge.level
        assert {name for name in known if not name.startswith("out")} <= read

    def test_all_cells_of_the_space_are_drawn_alike(self):
        """Of two levels and no merge between: 2 orders, 1 pair and then 3, 2 operations each: 2 · 2 · 3 · 2 = 24."""
        rng = np.random.default_rng(0)
        drawn = Counter()
        for _ in range(2400):
            cell = draw_cell(2, rng, intermediates=0)
            # Which features were added since nothing read them follows from the rest, and the order of a sum is none.
            drawn[tuple((merge.name, frozenset(merge.sources[:2]), merge.attends) for merge in cell)] += 1
        assert len(drawn) == 24
        assert max(drawn.values()) < 160
        assert min(drawn.values()) > 50

    def test_operations_of_edges_are_what_pytorch_computes(self):
        info, features = pyramid(2)
        text = "o0@0=sep5(in0)+skip(in1);o1@1=dil3(o0)"
        assert format_cell(parse_cell(text)) == text
        torch.manual_seed(0)
        neck = randomised(neck_factory(f"merge:{text}")(info, 8, 1))
        one, other = (entry(feature) for entry, feature in zip(neck.entries, features.values(), strict=True))
        weights = neck.stack[0].state_dict()

        def edge(name, x, dilation):
            depthwise = weights[f"{name}.depthwise.weight"]
            padding = dilation * (depthwise.shape[-1] // 2)
            x = functional.conv2d(functional.relu(x), depthwise, None, 1, padding, dilation, groups=8)
            x = functional.conv2d(x, weights[f"{name}.pointwise.conv.weight"])
            norm = [
                weights[f"{name}.pointwise.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            ]
            return functional.batch_norm(x, *norm)

        finest = edge("out0.0", one, 1) + functional.interpolate(other, size=one.shape[-2:], mode="nearest")
        coarser = edge("out1.0", functional.max_pool2d(finest, 2, ceil_mode=True), 2)
        outputs = list(neck(features).values())
        torch.testing.assert_close(outputs[0], finest)
        torch.testing.assert_close(outputs[1], coarser)
        assert weights["out0.0.depthwise.weight"].shape[-1] == EDGE_OPERATIONS["sep5"][0] == 5

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "merge 1 of the cell, '', does not read name@level=features"),
            ("out0@0=in0+in1;out1=in0", "merge 2 of the cell, 'out1=in0', does not read"),
            ("out0@0=in0+in9;out1@1=in0+in1", "the cell makes 2 levels, and out0 reads in9"),
            ("out0@0=in0+m1;out1@1=in0+in1", "reads 'm1', which no earlier merge and no input is called"),
            ("out1@1=in0+in1", "the cell has no out0: every level needs one output"),
            ("out0@0=in0+in1;out0@0=in0+in1", "takes the name 'out0', which is taken"),
            ("in0@0=in0+in1", "takes the name 'in0', which is taken"),
            ("out0@1=in0+in1", "is at level 1: only out1 is that level's output"),
            ("out0@0=in0+in0", "reads one feature twice"),
            ("out0@0=gp(in1,in0)+in1;out1@1=in0+in1", "reads one feature twice"),
            ("m@1=in0+in1;out0@0=gp(in1,in0)+m;out1@1=in1+m", "adds m of level 1 to gp"),
            ("out0@0=spe3(in0)", "has the operation 'spe3'; did you mean 'sep3'?"),
            ("out0@0=sep3(in0)+in1;out1@1=in1+in0", "has operations on some features"),
            ("out0@0=none(in0)+none(in1);out1@1=skip(in1)", "has no operation but none: one edge of each merge"),
            ("out0@0=gp(in0)", "has the operation 'gp'"),
        ],
    )
    def test_a_wrong_text_is_named_with_its_merge(self, text, message):
        with pytest.raises(ConfigError) as error:
            parse_cell(text)
        assert message in str(error.value)

    def test_a_cell_for_other_levels_is_refused(self):
        info, _ = pyramid(3)
        with pytest.raises(ConfigError, match="makes 5 levels, and it reads 3: choose"):
            neck_factory(f"merge:{CELL}")(info, 8)
        with pytest.raises(ConfigError, match="two levels are the fewest"):
            draw_cell(1, np.random.default_rng(0))

    def test_a_neck_without_texts_says_so(self):
        with pytest.raises(ConfigError, match="neck 'fpn' takes no text, and 'fpn:x' has one"):
            neck_factory("fpn:x")


class TestDensePredictionCells:
    def test_the_published_cell(self):
        rates = [(branch.kind, branch.size, branch.source) for branch in parse_branches(PUBLISHED)]
        assert rates == [
            ("rate", (1, 6), -1),
            ("rate", (18, 15), 0),
            ("rate", (6, 3), 1),
            ("rate", (1, 1), 0),
            ("rate", (6, 21), 0),
        ]

    def test_the_space_has_the_published_size(self):
        count = len(set(operations()))
        assert count == 81
        assert factorial(BRANCHES) * count**BRANCHES == 418_414_128_120  # "about 4.2 · 10^11"

    @settings(max_examples=50, deadline=None)
    @given(seed=st.integers(0, 2**31), count=st.integers(1, 7))
    def test_drawn_cells_read_back(self, seed, count):
        branches = draw_branches(np.random.default_rng(seed), count)
        assert parse_branches(format_branches(branches)) == branches
        assert all(branch.source < number for number, branch in enumerate(branches))

    def test_sources_and_operations_are_drawn_alike(self):
        rng = np.random.default_rng(0)
        drawn = [draw_branches(rng, 3)[2] for _ in range(6000)]
        sources = Counter(branch.source for branch in drawn)
        assert set(sources) == {-1, 0, 1}
        assert all(abs(number - 2000) < 150 for number in sources.values())
        kinds = Counter((branch.kind, branch.size) for branch in drawn)
        assert len(kinds) == 81
        assert max(kinds.values()) < 120

    @pytest.mark.parametrize("text", ["rate21x3(in)", "pool8x1(in)", "point(in)"])
    @pytest.mark.parametrize("size", [(1, 1), (3, 7), (25, 40)])
    def test_sizes_are_kept(self, text, size):
        x = torch.randn(2, 4, *size)
        assert Dense(4, parse_branches(text)).eval()(x).shape == x.shape

    def test_a_chain_of_undilated_branches_is_five_plain_convolutions(self):
        torch.manual_seed(0)
        chain = [Branch("rate", (1, 1), number - 1) for number in range(5)]
        dense = randomised(Dense(4, chain))
        x, made = torch.randn(2, 4, 9, 7), []
        for layers in dense.branches:
            plain = nn.Conv2d(4, 4, 3, padding=1, bias=False)
            plain.load_state_dict(layers.conv.state_dict())
            made.append(functional.relu(layers.norm(plain(made[-1] if made else x))))
        torch.testing.assert_close(dense(x), functional.relu(dense.joining(torch.cat(made, 1))))

    def test_rates_are_of_rows_and_of_columns(self):
        """One pixel in the middle reaches three rows that are 3 apart, and three columns that are 1 apart."""
        dense = randomised(Dense(1, [Branch("rate", (3, 1), -1)]))
        for layers in (dense.branches[0], dense.joining):
            layers.conv.weight.data.fill_(1.0)
        x = torch.zeros(1, 1, 15, 15)
        x[..., 7, 7] = 1.0
        changed = (dense(x) - dense(torch.zeros_like(x))).squeeze().abs() > 1e-6
        assert sorted({int(row) for row in changed.nonzero()[:, 0]}) == [4, 7, 10]
        assert sorted({int(column) for column in changed.nonzero()[:, 1]}) == [6, 7, 8]

    def test_a_rate_beyond_a_small_feature_still_reads_neighbours(self):
        dense = Dense(1, [Branch("rate", (21, 21), -1)]).eval()
        for layers in (dense.branches[0], dense.joining):
            layers.conv.weight.data.fill_(1.0)
        x = torch.rand(1, 1, 4, 4)
        far = x.clone()
        far[..., 3, 3] += 1.0
        assert not torch.equal(dense(x)[..., 0, 0], dense(far)[..., 0, 0])

    def test_the_cell_stands_between_the_coarsest_lateral_and_the_way_down(self):
        info, features = pyramid(3)
        torch.manual_seed(0)
        neck = randomised(neck_factory("dpc")(info, 8))
        plain = neck_factory("fpn")(info, 8).eval()
        plain.load_state_dict({k.removeprefix("levels."): x for k, x in neck.state_dict().items() if "dense" not in k})
        lateral = plain.inner_blocks[2](features["s3"])
        plain.inner_blocks[2] = nn.Identity()
        expected = plain(OrderedDict(features, s3=neck.levels.dense(lateral)))
        for name, level in neck(features).items():
            torch.testing.assert_close(level, expected[name])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("rate1x6", "branch 1 of the cell, 'rate1x6', does not read"),
            ("rate1x6(in);point2x2(in)", "branch 2 of the cell, 'point2x2(in)', does not read"),
            ("rate2x6(in)", "has another size than the space: 1, 3, 6, 9, 12, 15, 18, 21"),
            ("pool3x1(in)", "has another size than the space: 1, 2, 4, 8"),
            ("rate1x6(b1)", "reads 'b1': it must be one of in"),
        ],
    )
    def test_a_wrong_text_is_named_with_its_branch(self, text, message):
        with pytest.raises(ConfigError) as error:
            neck_factory(f"dpc:{text}")
        assert message in str(error.value)


def test_a_merge_says_what_it_is_made_of():
    (merge,) = parse_cell("o0@0=in0")
    assert merge == Merge("out0", 0, ("in0",))
    assert isinstance(neck_factory("merge:o0@0=in0")(pyramid(1)[0], 4), NASFPN)
