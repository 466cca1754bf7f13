"""Each neck against a plain reading of its paper: one formula per level, the same weights, nothing shared with ours."""

import re
from collections import OrderedDict
from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from spnas_core.networks import FeatureInfo
from spnas_core.networks.features import StageInfo
from spnas_detect.necks import FPN, HRFPN, NASFPN, PAFPN, BiFPN
from spnas_detect.necks.bifpn import Node
from spnas_detect.necks.nas_fpn import nas_fpn_cell

CHANNELS = 4


def upsample(x, size):
    """Output pixel i reads input pixel floor(i · in / out)."""
    rows, columns = (torch.arange(out) * have // out for out, have in zip(size, x.shape[-2:], strict=True))
    return x[:, :, rows][:, :, :, columns]


def pool(x, stride, cells, before):
    """Maximum over ``cells`` × ``cells`` pixels, windows beginning at i · stride - before; nothing is outside."""
    for dim in (2, 3):
        begins = [begin - before for begin in range(0, x.shape[dim], stride)]
        windows = [(max(begin, 0), min(begin + cells, x.shape[dim])) for begin in begins]
        x = torch.cat([x.narrow(dim, low, high - low).amax(dim, keepdim=True) for low, high in windows], dim)
    return x


class Reference:
    """The formulas, over a neck's tensors by name."""

    def __init__(self, neck, reductions, training):
        self.w = {name: tensor.detach().clone() for name, tensor in neck.state_dict().items()}
        self.reductions, self.training = reductions, training

    def convolve(self, name, x, stride=1, groups=1):
        weight = self.w[f"{name}.weight"]
        return functional.conv2d(x, weight, self.w.get(f"{name}.bias"), stride, weight.shape[-1] // 2, 1, groups)

    def norm(self, name, x, eps):
        if self.training:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        else:
            mean, variance = self.w[f"{name}.running_mean"], self.w[f"{name}.running_var"]
        scale = self.w[f"{name}.weight"] / (variance + eps).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + self.w[f"{name}.bias"][:, None, None]

    def fpn(self, features, prefix=""):
        top_down = [self.convolve(f"{prefix}inner_blocks.{i}.0", x) for i, x in enumerate(features)]
        for i in range(len(features) - 2, -1, -1):
            top_down[i] = top_down[i] + upsample(top_down[i + 1], top_down[i].shape[-2:])
        return [self.convolve(f"{prefix}layer_blocks.{i}.0", x) for i, x in enumerate(top_down)]

    def pafpn(self, features):
        """N_1 = P_1; N_(i+1) = ReLU(conv(ReLU(conv strided(N_i)) + P_(i+1)))."""
        p = self.fpn(features, "pyramid.")
        n = [p[0]]
        for i in range(1, len(p)):
            stride = self.reductions[i] // self.reductions[i - 1]
            smaller = self.convolve(f"reducing.{i}", n[i - 1], stride).clamp(min=0)
            n.append(self.convolve(f"fusing.{i}", smaller + p[i]).clamp(min=0))
        return n

    def hrfpn(self, features):
        """All stages at the finest size, joined, one 1×1 convolution; means of windows; a 3×3 convolution each."""
        size = features[0].shape[-2:]
        large = [functional.interpolate(x, size, mode="bilinear", align_corners=False) for x in features]
        weight = torch.cat([self.w[f"gathering.{i}.conv.weight"] for i in range(len(features))], 1)
        joined = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], torch.cat(large, 1)) + self.w["shift"][:, None, None]
        levels = []
        for i, reduction in enumerate(self.reductions):
            factor = reduction // self.reductions[0]
            rows = [rows.mean(2, keepdim=True) for rows in joined.split(factor, 2)]
            cells = torch.cat(rows, 2).split(factor, 3)
            levels.append(self.convolve(f"smoothing.{i}", torch.cat([cell.mean(3, keepdim=True) for cell in cells], 3)))
        return levels

    def bifpn(self, features):
        levels = [
            self.norm(f"laterals.{i}.norm", self.convolve(f"laterals.{i}.conv", x), 1e-3)
            for i, x in enumerate(features)
        ]
        last = len(levels) - 1
        for cell in range(1 + max(int(name.split(".")[1]) for name in self.w if name.startswith("cells."))):
            td, out = f"cells.{cell}.top_down", f"cells.{cell}.bottom_up"
            if last == 0:
                levels = [self.fuse(f"{td}.0", levels)]
                continue
            down = {last: levels[last]}
            for i in reversed(range(last)):
                down[i] = self.fuse(f"{td}.{i}", [levels[i], upsample(down[i + 1], levels[i].shape[-2:])])
            up = [down[0]]
            for i in range(1, last + 1):
                stride = self.reductions[i] // self.reductions[i - 1]
                smaller = pool(up[i - 1], stride, stride + 1, stride // 2)
                up.append(self.fuse(f"{out}.{i}", [levels[i], smaller] + ([down[i]] if i != last else [])))
            levels = up
        return levels

    def fuse(self, name, inputs):
        """Σ w_i · I_i / (ε + Σ w_j), then conv(swish(·)) with batch norm."""
        w = [max(float(value), 0.0) for value in self.w[f"{name}.fusion"]]
        assert len(w) == len(inputs)
        total = sum(weight * x for weight, x in zip(w, inputs, strict=True)) / (1e-4 + sum(w))
        swished = total / (1 + torch.exp(-total))
        separate = self.convolve(f"{name}.depthwise", swished, groups=CHANNELS)
        return self.norm(f"{name}.pointwise.norm", self.convolve(f"{name}.pointwise.conv", separate), 1e-3)

    def nas_fpn(self, features):
        known = {
            f"in{i}": (i, self.norm(f"entries.{i}.norm", self.convolve(f"entries.{i}.conv", x), 1e-5))
            for i, x in enumerate(features)
        }
        for cell in range(1 + max(int(name.split(".")[1]) for name in self.w if name.startswith("stack."))):
            sizes = [known[f"in{i}"][1].shape[-2:] for i in range(len(features))]
            for line in NAS_FPN_CELLS[len(features)]:
                name, level, first, operation, second, added = MERGE.fullmatch(line).groups()
                level = int(level)
                a = self.resized(*known[first], level, sizes)
                b = self.resized(*known[second], level, sizes) if second else 0
                gate = torch.sigmoid(b.flatten(2).max(2).values)[:, :, None, None] if operation == "GP" else 1
                total = a * gate + b + (known[added][1] if added else 0)
                merged = self.convolve(f"stack.{cell}.{name}.conv", total.clamp(min=0))
                known[name] = level, self.norm(f"stack.{cell}.{name}.norm", merged, 1e-5)
            known = {f"in{i}": known[f"out{i}"] for i in range(len(features))}
        return [known[f"in{i}"][1] for i in range(len(features))]

    def resized(self, level, x, target, sizes):
        stride = self.reductions[target] // self.reductions[level]
        return upsample(x, sizes[target]) if target < level else pool(x, stride, stride, 0) if stride > 1 else x


# One line per merge: name @ level = first, operation, second, and what is added. "a GP b" is b + a · sigmoid(max of b).
MERGE = re.compile(r"(\w+) @ (\d) = (\w+)(?: (\+|GP) (\w+))?(?: and (\w+))?")
NAS_FPN_CELLS = {
    1: ["out0 @ 0 = in0"],
    2: ["out0 @ 0 = in0 + in1", "out1 @ 1 = in1 + out0"],
    3: [
        "attended @ 1 = in1 GP in2",
        "fused @ 1 = in1 + attended",
        "out0 @ 0 = in0 + fused",
        "out1 @ 1 = fused + out0",
        "out2 @ 2 = fused GP out1",
    ],
    4: [
        "attended @ 1 = in1 GP in2",
        "fused @ 1 = in1 + attended",
        "out0 @ 0 = in0 + fused",
        "out1 @ 1 = fused + out0",
        "out3 @ 3 = fused GP out1 and in3",
        "out2 @ 2 = out1 GP out3",
    ],
    5: [
        "attended @ 1 = in1 GP in3",
        "fused @ 1 = in1 + attended",
        "out0 @ 0 = in0 + fused",
        "out1 @ 1 = fused + out0",
        "out2 @ 2 = out0 GP out1 and in2",
        "out4 @ 4 = fused GP out2 and in4",
        "out3 @ 3 = out2 GP out4",
    ],
    6: [
        "attended @ 1 = in1 GP in4",
        "fused @ 1 = in1 + attended",
        "out0 @ 0 = in0 + fused",
        "out1 @ 1 = fused + out0",
        "out2 @ 2 = out0 GP out1 and in2",
        "out3 @ 3 = out1 GP out2 and in3",
        "out5 @ 5 = fused GP out3 and in5",
        "out4 @ 4 = out3 GP out5",
    ],
}  # fmt: skip
NECKS = {"fpn": FPN, "pafpn": PAFPN, "bifpn": BiFPN, "nas_fpn": NASFPN, "hrfpn": HRFPN}
STACKED = {"bifpn", "nas_fpn"}


def random_neck(factory, reductions, repeats, seed):
    """A neck of which every tensor is random, norms and fusion weights included."""
    torch.manual_seed(seed)
    info = FeatureInfo([StageInfo(f"s{i}", 3 + i, reduction) for i, reduction in enumerate(reductions)])
    neck = factory(info, CHANNELS, repeats).double()
    for name, tensor in neck.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("fusion"):
            tensor.uniform_(-0.3, 2)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.5)
    return neck, info


def random_features(info, height, width):
    """Levels as the backbone makes them: ceil(side / stride), the finest of height × width."""
    finest = info.reduction()[0]
    strides = [reduction // finest for reduction in info.reduction()]
    return OrderedDict(
        (stage.name, torch.randn(2, stage.channels, -(-height // stride), -(-width // stride), dtype=torch.float64))
        for stage, stride in zip(info.stages, strides, strict=True)
    )


@st.composite
def pyramids(draw):
    """Reductions of one to six levels, now and then with a stage left out, and an odd or even finest size."""
    ratios = draw(st.lists(st.sampled_from([2, 2, 2, 4]), max_size=5))
    return list(accumulate([4, *ratios], lambda a, b: a * b)), draw(st.integers(2, 70)), draw(st.integers(2, 70))


@pytest.mark.parametrize("name", NECKS)
@budget(max_examples=25)
@given(pyramid=pyramids(), repeats=st.integers(1, 3), training=st.booleans(), seed=st.integers(0, 1000))
def test_every_level_equals_the_formulas_of_the_paper(name, pyramid, repeats, training, seed):
    reductions, height, width = pyramid
    neck, info = random_neck(NECKS[name], reductions, repeats if name in STACKED else None, seed)
    features = random_features(info, height, width)
    reference = Reference(neck, reductions, training)
    with torch.no_grad():
        expected = getattr(reference, name)(list(features.values()))
        levels = neck.train(training)(features)
    assert list(levels) == info.names()
    for level, plain in zip(levels.values(), expected, strict=True):
        torch.testing.assert_close(level, plain, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NECKS)
def test_single_precision_equals_the_formulas_to_1e_5(name):
    neck, info = random_neck(NECKS[name], [4, 8, 16, 32, 64], None, seed=0)
    features = OrderedDict((key, value.float()) for key, value in random_features(info, 37, 23).items())
    neck = neck.float().eval()
    with torch.no_grad():
        expected = getattr(Reference(neck, info.reduction(), training=False), name)(list(features.values()))
        for level, plain in zip(neck(features).values(), expected, strict=True):
            assert level.std() > 0.01
            torch.testing.assert_close(level, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("levels", range(1, 7))
def test_fpn_is_that_of_torchvision(levels):
    neck, info = random_neck(FPN, [4 * 2**i for i in range(levels)], None, seed=levels)
    theirs = FeaturePyramidNetwork(info.channels(), CHANNELS).double()
    theirs.load_state_dict(neck.state_dict())
    features = random_features(info, 51, 34)
    ours, expected = neck(features), theirs(features)
    assert list(ours) == list(expected)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_the_five_level_cell_is_the_published_one_node_by_node():
    """The authors' list: (level, operation, features by number, whether it is an output); features 0…4 are P3…P7."""
    published = [
        (4, "attention", {1, 3}, False),
        (4, "sum", {1, 5}, False),
        (3, "sum", {0, 6}, True),
        (4, "sum", {6, 7}, True),
        (5, "attention", {7, 8}, True),
        (7, "attention", {6, 9}, True),
        (6, "attention", {9, 10}, True),
    ]
    cell = nas_fpn_cell(5)
    numbers = {f"in{level}": level for level in range(5)} | {merge.name: 5 + i for i, merge in enumerate(cell)}
    ours = [
        (
            3 + merge.level,
            "attention" if merge.attends else "sum",
            {numbers[source] for source in merge.sources},
            merge.name.startswith("out"),
        )
        for merge in cell
    ]
    assert ours == published
    # What has no outgoing edge is added to the output of its level; of two levels the coarser one attends.
    assert {merge.name: merge.added for merge in cell if merge.added} == {"out2": ("in2",), "out4": ("in4",)}
    level = {f"in{i}": i for i in range(5)} | {merge.name: merge.level for merge in cell}
    for merge in cell:
        if merge.attends:
            assert level[merge.sources[0]] > level[merge.sources[1]]


@pytest.mark.parametrize("levels", range(1, 12))
def test_a_cell_makes_every_level_once_and_reads_every_input(levels):
    cell = nas_fpn_cell(levels)
    assert sorted(merge.level for merge in cell if merge.name.startswith("out")) == list(range(levels))
    assert all(merge.name == f"out{merge.level}" for merge in cell if merge.name.startswith("out"))
    known = {f"in{level}" for level in range(levels)}
    read = set()
    for merge in cell:
        sources = {*merge.sources, *merge.added}
        assert len(sources) == len(merge.sources) + len(merge.added)
        assert sources <= known, merge
        read |= sources
        known.add(merge.name)
    assert {f"in{level}" for level in range(levels)} <= read


@given(weights=st.lists(st.floats(-3, 3), min_size=1, max_size=3))
def test_fusion_shares_are_non_negative_and_normalised(weights):
    node = Node(len(weights), CHANNELS)
    node.fusion.data = torch.tensor(weights)
    shares = node.shares()
    positive = [max(weight, 0.0) for weight in weights]
    torch.testing.assert_close(shares, torch.tensor([weight / (sum(positive) + 1e-4) for weight in positive]))
    assert (shares >= 0).all()
    assert shares.sum() <= 1
    if sum(positive) > 0.1:
        assert shares.sum() > 0.998
