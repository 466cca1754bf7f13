"""Which levels a detector has: stages of the backbone, extra ones, and anchors on each."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from full_size import FASTER_RCNN, RETINANET
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import AddStage, Rewrite, Widen, align, identity
from spnas_detect.data import pad_targets
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.detectors.levels import read_stages
from spnas_detect.detectors.loading import load_detector
from spnas_detect.heads.anchors import Anchors
from spnas_detect.heads.extra_levels import ExtraLevels
from spnas_detect.necks import LevelMap
from spnas_detect.training import save_weights
from spnas_search.cli.main import commands

CPU = torch.device("cpu")
SMALL = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20, "rpn_samples": 16, "box_samples": 8}
START = Architecture.parse("b@4_11-21-21-21")


def build(rewrite, parent=None, seed=0, parent_stages=None, **settings):
    return build_detector(
        rewrite,
        3,
        DetectorSettings(**{**SMALL, **settings}),
        parent or {},
        generator=torch.Generator().manual_seed(seed),
        parent_stages=parent_stages,
    )


def features(generator, channels=(6, 12)):
    """The two coarsest levels of a neck of 8 channels, and the stages that they stand for."""
    sizes = [(13, 21), (7, 11)]
    levels = [torch.randn(2, 8, *size, generator=generator) for size in sizes]
    return levels, [torch.randn(2, c, *size, generator=generator) for c, size in zip(channels, sizes, strict=True)]


@pytest.mark.parametrize(("kind", "inputs"), [("pool", 0), ("conv", 8), ("stage-conv", 12)])
def test_extra_levels_are_torchvisions(kind, inputs):
    levels, stages = features(torch.Generator().manual_seed(0))
    theirs = LastLevelP6P7(inputs, 8) if inputs else LastLevelMaxPool()
    extra = ExtraLevels(kind, 12, 8)
    extra.load_state_dict(theirs.state_dict())
    found = extra(levels[-1], stages[-1])
    expected, _ = theirs(list(levels), list(stages), ["0", "1"])
    assert len(found) == len(expected) - 2
    assert all(torch.equal(one, other) for one, other in zip(found, expected[2:], strict=True))


@pytest.mark.parametrize(
    ("levels", "stages"),
    [(None, (0, 1, 2, 3)), (("s2", "s3+"), (1, 2, 3)), (("s1", "s3"), (0, 2)), (("s4",), (3,)), (("s4+",), (3,))],
)
def test_levels_name_stages(levels, stages):
    assert read_stages(levels, START) == stages
    detector, _, _ = build(identity(START), levels=levels)
    assert detector.rpn.anchors.strides == tuple(4 * 2**stage for stage in stages)
    assert detector.backbone.feature_info.names() == [f"s{stage + 1}" for stage in stages]


def test_a_stage_that_an_architecture_lacks_is_refused():
    with pytest.raises(ConfigError, match="names 's5', and b@4_11-21-21-21 has the stages s1 to s4: choose among"):
        read_stages(("s2", "s5+"), START)


@pytest.mark.parametrize("detector", ["faster-rcnn", "cascade-rcnn", "retinanet"])
@pytest.mark.parametrize("kind", ["pool", "conv", "stage-conv", "stage-pool"])
def test_every_detector_trains_and_detects_on_extra_levels(detector, kind):
    choice = {"levels": ("s2+",), "extra_levels": kind, "rpn_samples": 10**5}  # every anchor, on every level
    module, _, _ = build(identity(START), detector=detector, **choice)
    anchors = module.head.anchors if detector == "retinanet" else module.rpn.anchors
    assert anchors.strides == (8, 16, 32, 64, 128)[: 4 if kind == "pool" else 5]
    if detector == "faster-rcnn":  # the paper: the extra level gives proposals and is not pooled from
        assert module.roi_heads.pooler.scales == [1 / 8, 1 / 16, 1 / 32]
    boxes = torch.tensor([[4.0, 4.0, 180.0, 170.0], [8.0, 8.0, 30.0, 40.0]])
    targets = pad_targets([{"boxes": boxes, "labels": torch.tensor([1, 3])}] * 2, [(192, 192)] * 2)
    images = torch.randn(2, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    sum(module.train().losses(images, targets).values()).backward()
    trained = [name for name, p in module.named_parameters() if p.grad is not None and bool((p.grad != 0).any())]
    assert {name for name in trained if name.startswith("extra.")} == (
        set()
        if kind.endswith("pool")
        else {f"extra.{part}.{leaf}" for part in ("p6", "p7") for leaf in ("weight", "bias")}
    )
    assert module.eval().detect(images).boxes.isfinite().all()


def test_without_extra_levels_no_tensor_has_another_name():
    plain = build(identity(START))[0].state_dict()
    assert {name.partition(".")[0] for name in plain} == {"backbone", "neck", "rpn", "roi_heads"}
    assert plain.keys() == build(identity(START), extra_levels="pool")[0].state_dict().keys()


SIZES = ((32.0, 40.0, 50.0), (64.0, 80.0, 101.0), (128.0, 161.0, 203.0))


@pytest.mark.parametrize(("height", "width"), [(800, 1344), (1344, 800), (736, 1216)])
def test_anchors_of_each_level_and_canvas_are_torchvisions(height, width):
    shapes = [(-(-height // stride), -(-width // stride)) for stride in (32, 64, 128)]
    ours = Anchors([32, 64, 128], (4.0,), (0.5, 1.0, 2.0), sizes=SIZES, follows_canvas=True)
    theirs = AnchorGenerator(SIZES, ((0.5, 1.0, 2.0),) * 3)
    maps = [torch.zeros(1, 1, *shape) for shape in shapes]
    expected = theirs(ImageList(torch.zeros(1, 3, height, width), [(height, width)]), maps)[0]
    assert torch.equal(ours.grid(shapes, CPU, (height, width)), expected)
    assert ours.per_position == 9
    other = (height + 64, width)  # the same levels, another canvas
    assert not torch.equal(ours.grid(shapes, CPU, other), expected)
    assert torch.equal(ours.grid(shapes, CPU, (height, width)), expected)


def test_anchor_sizes_go_on_with_the_stride():
    assert Anchors([4, 8, 16, 32], (1.0,), (1.0,), sizes=((10,), (24,))).sizes() == [[10], [24], [48], [96]]
    with pytest.raises(ConfigError, match="sizes for 3 levels, and there are 2: leave out those of the coarsest"):
        Anchors([4, 8], (1.0,), (1.0,), sizes=((10,), (24,), (48,)))


def test_laterals_follow_the_stages_that_they_read_when_levels_differ():
    parent = build(identity(START), levels=("s2", "s3", "s4"))[0].state_dict()
    child, _, _ = build(identity(START), parent, seed=1, parent_stages=(1, 2, 3))
    state = child.state_dict()
    for level in (1, 2, 3):
        for block in ("inner_blocks", "layer_blocks"):
            name = f"neck.{block}.{{}}.0.weight"
            assert torch.equal(state[name.format(level)], parent[name.format(level - 1)])
    # s1 has other channels: nothing reads it yet, and behind its lateral stands the finest level's.
    assert torch.equal(state["neck.layer_blocks.0.0.weight"], parent["neck.layer_blocks.0.0.weight"])
    rewrite = identity(START)
    assert LevelMap(rewrite, (0, 1, 2, 3), (1, 2, 3)).laterals(0) == [0]
    assert [LevelMap(rewrite, (0, 1, 2, 3), (1, 2, 3)).nearest(level) for level in range(4)] == [0, 0, 1, 2]
    assert [LevelMap(rewrite, (0, 2), (0, 1, 2, 3)).laterals(level) for level in range(2)] == [[0], [2]]


def test_an_added_stage_is_one_more_level_of_an_open_choice():
    rewrite = AddStage().options(START)[0]
    parent = build(identity(START), levels=("s2+",), extra_levels="conv")[0].state_dict()
    child, _, _ = build(rewrite, parent, seed=1, levels=("s2+",), extra_levels="conv")
    state = child.state_dict()
    assert child.rpn.anchors.strides == (8, 16, 32, 64, 128, 256)
    for mine, theirs in (("neck.layer_blocks.3.0", "neck.layer_blocks.2.0"), ("extra.p6", "extra.p6")):
        assert torch.equal(state[f"{mine}.weight"], parent[f"{theirs}.weight"])


@pytest.mark.parametrize("levels", [None, ("s2", "s3")])
def test_what_reads_a_stage_follows_its_channels_whichever_level_that_is(levels):
    rewrite = next(o for o in Widen().options(Architecture.parse("b@4_11-11-21")) if str(o.child) == "b@4_11-21-21")
    assert isinstance(rewrite, Rewrite)
    chosen = {"levels": levels, "extra_levels": "stage-conv"}
    parent = build(identity(rewrite.parent), **chosen)[0].state_dict()
    child, plan, receipt = build(rewrite, parent, seed=1, **chosen)
    coarsest = len(levels or "abc") - 1
    for name in ("extra.p6.weight", f"neck.inner_blocks.{coarsest}.0.weight"):
        assert next(copy for copy in plan.copies if copy.target == name).route is not None
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    before = build(identity(rewrite.parent), parent, **chosen)[0].eval()
    outputs = []
    with torch.no_grad():
        for one in (before, child.eval()):
            stage = one.backbone(images)
            last = stage["s3"]
            level = one.neck(stage)["s3"]
            outputs.append((level, one.extra(level, last)[0]))
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-4, rtol=1e-4)
    assert receipt.new == 0


def test_a_file_remembers_its_levels(tmp_path):
    settings = DetectorSettings(
        **SMALL, levels=("s2", "s3+"), extra_levels="conv", anchor_sizes=((20, 30),), anchor_strides="canvas"
    )
    module = build_detector(identity(START), 2, settings, {}, generator=torch.Generator().manual_seed(0))[0]
    description = DetectorDescription(str(START), ("a", "b"), settings, (96, 96))
    save_weights(module, tmp_path / "w.safetensors", description.metadata())
    loaded, said = load_detector(tmp_path / "w.safetensors", "cpu")
    assert said == description
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    one, other = loaded.detect(images), module.eval().detect(images)
    torch.testing.assert_close(one.boxes, other.boxes, atol=1e-3, rtol=0)


def test_levels_of_a_parent_with_fewer_stages_are_those_that_it_has():
    parent = Architecture.parse("b@4_11-21-21")
    state = build(identity(parent), levels=("s2", "s3"))[0].state_dict()
    child, _, _ = build(align(parent, START), state, seed=1, levels=("s2", "s3", "s4"))
    for level, before in ((0, 0), (1, 1), (2, 1)):
        name = "neck.layer_blocks.{}.0.weight"
        assert torch.equal(child.state_dict()[name.format(level)], state[name.format(before)])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ('levels=["s3"]', "detector.levels names 's3', and b@8_1-2 has the stages s1 to s2: choose among these"),
        ('levels=["s2","s1"]', "from the finest stage to the coarsest, each once"),
        ('levels=["p3"]', "and 'p3' is none"),
        ('levels=["s1+","s2"]', "and 's1+' is none"),
        ("levels=[]", "detector.levels"),
        ('extra_levels="p6"', "detector.extra_levels"),
        ("anchor_sizes=[[8,16],[32]]", "must have as many sizes for each level"),
        ("anchor_sizes=[[8],[16],[32]]", "has sizes for 3 levels, and b@8_1-2 gives a detector 2"),
        ('anchor_strides="stride"', "detector.anchor_strides"),
    ],
)
def test_levels_that_cannot_be_are_refused_before_anything_is_read(tmp_path, assignment, message):
    result = CliRunner().invoke(
        commands,
        [
            "train",
            "b@8_1-2",
            "--data",
            "coco:/nowhere",
            "--set",
            f"detector.{assignment}",
            "--out",
            str(tmp_path / "o"),
        ],
    )
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert (result.exit_code, len(errors)) == (2, 1), result.output
    assert message in errors[0]
    assert not (tmp_path / "o").exists()


PAGE = Path(__file__).parents[2] / "docs" / "levels.md"


def test_the_page_gives_the_settings_of_torchvisions_detectors():
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    given = [DetectorSettings.model_validate(tomllib.loads(block)["detector"]) for block in blocks]
    assert given == [DetectorSettings.model_validate(FASTER_RCNN), DetectorSettings.model_validate(RETINANET)]
    for setting in ("levels", "extra_levels", "anchor_sizes", "anchor_strides"):
        assert setting in DetectorSettings.model_fields
        assert f"| `{setting}` |" in PAGE.read_text(encoding="utf-8")
