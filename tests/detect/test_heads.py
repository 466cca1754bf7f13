import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, batched_nms

from spnas_core import build_backbone
from spnas_detect.data import pad_targets
from spnas_detect.detectors import DetectorSettings
from spnas_detect.detectors.assembly import pyramid_pooler
from spnas_detect.heads import Anchors, PyramidPooler, Rule, assign, sample, sample_regions, select_detections
from spnas_detect.heads.boxes import clip, decode, encode
from spnas_detect.heads.proposals import Proposals
from spnas_detect.heads.selection import suppress

CPU = torch.device("cpu")


def random_boxes(generator, *shape, size=64.0):
    corners = torch.rand(*shape, 2, 2, generator=generator) * size
    return torch.cat([corners.amin(-2), corners.amax(-2) + 4], dim=-1)


# Boxes and anchors


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_boxes_are_encoded_and_decoded_as_torchvision_does(weights):
    generator = torch.Generator().manual_seed(0)
    boxes, references = random_boxes(generator, 2, 50), random_boxes(generator, 2, 50)
    deltas = torch.randn(2, 50, 4, generator=generator) * 10  # growth beyond the limit too
    coder = BoxCoder(weights)
    torch.testing.assert_close(
        encode(boxes, references, weights),
        torch.stack(coder.encode(list(boxes), list(references))),
        rtol=1e-5,
        atol=1e-5,
    )
    wanted = coder.decode(deltas.reshape(100, 4), list(references)).reshape(2, 50, 4)
    torch.testing.assert_close(decode(deltas, references, weights), wanted, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(decode(encode(boxes, references, weights), references, weights), boxes)


def test_clipping_follows_each_images_size():
    boxes = torch.tensor([-5.0, -5.0, 100.0, 100.0]).expand(2, 3, 1, 4)
    clipped = clip(boxes, torch.tensor([[10.0, 20.0], [30.0, 40.0]]))
    assert clipped[:, 0, 0].tolist() == [[0, 0, 20, 10], [0, 0, 40, 30]]


@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 1.0, 2.0)])
def test_anchors_are_torchvisions(ratios):
    ours = Anchors([4, 8, 16], (2.8, 4.0), ratios)
    theirs = AnchorGenerator(tuple(map(tuple, ours.sizes())), (ratios,) * 3)
    maps = [torch.zeros(1, 1, 64 // stride, 96 // stride) for stride in ours.strides]
    shapes = [tuple(level.shape[-2:]) for level in maps]
    wanted = theirs(ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)]), maps)[0]
    assert torch.equal(ours.grid(shapes, CPU), wanted)
    assert sum(ours.counts(shapes)) == len(wanted)
    assert ours.per_position == theirs.num_anchors_per_location()[0]


@pytest.mark.parametrize(
    "anchors",
    [
        Anchors([4, 8], (0.1, 4.0), (1.0,)),
        Anchors([4, 8], (4.0,), (0.001, 1.0, 1000.0)),
        Anchors([4, 8], (), (1.0,), sizes=((1.0, 8.0),)),
    ],
)
def test_no_anchor_is_without_an_area(anchors):
    """Half a side of half a pixel rounds to none, and boxes are divided by the sides of their anchors."""
    found = anchors.grid([(3, 3), (2, 2)], CPU)
    sides = found[:, 2:] - found[:, :2]
    assert sides.min() == 1
    centres = (found[:, :2] + found[:, 2:]) / 2
    assert torch.equal(centres % 4, torch.zeros_like(centres))


def test_anchors_of_a_canvas_that_strides_do_not_divide_stay_on_their_stride():
    anchors = Anchors([4, 8], (2.0,), (1.0,)).grid([(13, 13), (7, 7)], CPU)  # of 52 pixels
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[13 * 13 + 1].tolist() == [8, 0]


def test_grids_are_kept_and_old_ones_forgotten():
    anchors = Anchors([4], (2.0,), (1.0,))
    first = anchors.grid([(3, 3)], CPU)
    assert anchors.grid([(3, 3)], CPU) is first
    for size in range(1, 80):
        anchors.grid([(size, 1)], CPU)
    assert torch.equal(anchors.grid([(3, 3)], CPU), first)
    assert len(anchors._grids) <= 64


# Sampling


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 10**6))
def test_samples_keep_quota_and_fill_up_with_negatives(boxes, count, fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (3, boxes), generator=generator)
    positive, negative = kinds == 2, kinds == 1
    drawn = sample(positive, negative, count, fraction, torch.rand(3, boxes, generator=generator))
    assert drawn.rows.shape == (3, min(count, boxes))
    for image in range(3):
        rows = drawn.rows[image][drawn.is_valid[image]].tolist()
        assert len(set(rows)) == len(rows)
        chosen = [row for row in rows if positive[image, row]]
        others = [row for row in rows if negative[image, row]]
        assert len(chosen) + len(others) == len(rows)
        quota = max(1, int(count * fraction)) if fraction else 0
        assert drawn.is_positive[image].sum() == len(chosen) == min(quota, int(positive[image].sum()))
        assert len(others) == min(count - len(chosen), int(negative[image].sum()), boxes - len(chosen))
        assert not (drawn.is_positive[image] & ~drawn.is_valid[image]).any()


def test_every_box_is_drawn_equally_often():
    generator = torch.Generator().manual_seed(0)
    positive = torch.zeros(2000, 12, dtype=torch.bool)
    positive[:, :6] = True
    drawn = sample(positive, ~positive, 4, 0.5, torch.rand(2000, 12, generator=generator))
    counts = torch.bincount(drawn.rows.flatten(), minlength=12)
    # 8000 draws over 12 boxes of odds 1/3 each: mean 667, standard deviation 21
    assert (counts - 667).abs().max() < 100


def test_the_documented_example_of_a_sample():
    positive = torch.tensor([[True, True, True, False, False, False]])
    noise = torch.tensor([[0.1, 0.9, 0.5, 0.3, 0.2, 0.8]])
    drawn = sample(positive, ~positive, 4, 0.5, noise)
    assert drawn.rows.tolist() == [[1, 2, 5, 3]]


# Assignment and regions


def targets_of(boxes, labels):
    count = len(boxes)
    return pad_targets(
        [
            {"boxes": torch.tensor(b).reshape(-1, 4), "labels": torch.tensor(n)}
            for b, n in zip(boxes, labels, strict=True)
        ],
        [(64, 64)] * count,
    )


def test_regions_hold_the_objects_themselves_and_what_each_proposal_stands_for():
    targets = targets_of([[[0.0, 0, 16, 16], [32, 32, 64, 64]], []], [[3, 1], []])
    boxes = torch.tensor([[[0.0, 0, 16, 12], [0, 32, 16, 48]], [[0, 0, 16, 16], [0, 0, 0, 0]]])
    proposals = Proposals(boxes, torch.tensor([[True, True], [True, False]]))
    regions = sample_regions(proposals, targets, Rule(0.5, 0.5), 16, torch.rand(2, 2 + targets.boxes.shape[1]))
    labels = {
        tuple(b.tolist()): int(n)
        for b, n, v in zip(*(r[0] for r in (regions.boxes, regions.labels, regions.is_valid)), strict=True)
        if v
    }
    assert labels == {(0, 0, 16, 12): 3, (0, 32, 16, 48): 0, (0, 0, 16, 16): 3, (32, 32, 64, 64): 1}
    assert regions.boxes[1][regions.is_valid[1]].tolist() == [[0, 0, 16, 16]]
    assert regions.labels[1].tolist() == [0] * regions.labels.shape[1]


def test_more_padding_changes_no_assignment():
    generator = torch.Generator().manual_seed(0)
    boxes = random_boxes(generator, 200)
    images = [
        {"boxes": random_boxes(generator, n), "labels": torch.randint(1, 4, (n,), generator=generator)}
        for n in (3, 0, 5)
    ]
    sizes = [(64, 64)] * 3
    rule = Rule(0.5, 0.4, keeps_best=True)
    narrow, wide = (assign(boxes, pad_targets(images, sizes, rows), rule) for rows in (8, 40))
    assert torch.equal(narrow.rows, wide.rows)


# Pooling and selection


@pytest.mark.parametrize("scales", [(2.8, 4.0), (4.0, 2.8)])
def test_the_finest_level_is_chosen_by_the_smallest_anchor_in_whatever_order(scales):
    info = build_backbone("b@8_1-1-1").feature_info
    pooler = pyramid_pooler(info, DetectorSettings(anchor_scales=scales))
    assert pooler.finest_size == round(2.8 * info.reduction()[0])


@pytest.mark.parametrize("code", ["b@8_1-1-1", "b@8_1-1-1-1-1"])
def test_proposals_are_pooled_as_torchvision_pools_them(code):
    info = build_backbone(code).feature_info
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(3, 5, 256 // s.reduction, 384 // s.reduction, generator=generator) for s in info.stages]
    boxes = random_boxes(generator, 3, 40, size=256)
    boxes[1, :4, 2:] = boxes[1, :4, :2] + torch.tensor([[32.0], [64.0], [128.0], [31.999]])  # level borders
    theirs = MultiScaleRoIAlign(info.names(), 7, 2, canonical_scale=32, canonical_level=2)
    wanted = theirs(dict(zip(info.names(), features, strict=True)), list(boxes), [(256, 384)] * 3)
    torch.testing.assert_close(PyramidPooler(info, 7, 2, finest_size=32)(features, boxes), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(10))
def test_detections_are_those_of_a_loop_over_images(seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(generator, 3, 80)
    boxes[:, ::9, 2] = boxes[:, ::9, 0] + 1e-3  # too narrow
    scores = torch.rand(3, 80, generator=generator)
    labels = torch.randint(1, 4, (3, 80), generator=generator)
    found = select_detections(
        boxes, scores, labels, score_threshold=0.2, iou_threshold=0.4, most=20, smallest=1e-2
    ).images()
    for image, one in enumerate(found):
        fit = (scores[image] > 0.2) & (boxes[image, :, 2] - boxes[image, :, 0] > 1e-2)
        kept = fit.nonzero().flatten()
        kept = kept[batched_nms(boxes[image, kept], scores[image, kept], labels[image, kept], 0.4)][:20]
        for name, wanted in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            assert torch.equal(one[name], wanted[image, kept])


def test_what_is_no_number_is_never_kept():
    boxes = torch.tensor([[[0.0, 0, 8, 8], [torch.nan, 0, 8, 8], [0, 0, torch.inf, 8], [20, 20, 30, 30]]])
    scores = torch.tensor([[0.5, 0.9, 0.8, torch.nan]])
    keep, counts = suppress(
        boxes, scores, torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.bool), 0.5, 4
    )
    assert counts.tolist() == [1]
    assert keep.tolist() == [[0, 0, 0, 0]]


def test_an_image_without_anything_gives_padding_only():
    found = select_detections(
        torch.zeros(2, 5, 4), torch.zeros(2, 5), torch.ones(2, 5, dtype=torch.int64),
        score_threshold=0.1, iou_threshold=0.5, most=3,
    )  # fmt: skip
    assert found.counts.tolist() == [0, 0]
    assert found.labels.tolist() == [[0] * 3] * 2
    assert [len(one["scores"]) for one in found.images()] == [0, 0]
