"""Scale-aware training of backbones with branches, and what they detect."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from spnas_core.backbones import Unchanged, read_network, unchanged
from spnas_core.errors import ConfigError
from spnas_detect.data.targets import IGNORED, Targets, pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.branches import Branches, branches_of
from spnas_detect.heads import dense, proposals, regions
from spnas_detect.heads.normalisation import global_draw

CODE = "b@8_11-21-21-1"
EVERYTHING = ((0.0,), (0.0,), (0.0,))
KINDS = ["faster-rcnn", "cascade-rcnn", "retinanet"]
TINY = {"neck_channels": 8, "head_channels": 16, "box_samples": 16, "rpn_samples": 16, "tower_depth": 1}


def build(text, kind="faster-rcnn", parent=None, **settings):
    chosen = DetectorSettings(detector=kind, **TINY, **settings)
    generator = torch.Generator().manual_seed(1)
    return build_detector(unchanged(read_network(text)), 3, chosen, parent or {}, generator=generator)[0]


def batch(side=96):
    boxes = [torch.tensor([[8.0, 8, 40, 40], [50, 50, 80, 90]]), torch.tensor([[20.0, 30, 60, 44]])]
    images = [{"boxes": one, "labels": torch.arange(len(one)) % 3 + 1} for one in boxes]
    drawn = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    return drawn, pad_targets(images, [(side, side)] * 2)


def square(side):
    return pad_targets([{"boxes": torch.tensor([[0.0, 0, side, side]]), "labels": torch.tensor([2])}], [(400, 400)])


def published():
    return branches_of(build(f"trident({CODE})").backbone, DetectorSettings())


class TestTargets:
    @pytest.mark.parametrize(
        ("side", "learnt"),
        [(20, [1, 0, 0]), (60, [1, 1, 0]), (90, [1, 1, 1]), (120, [0, 1, 1]), (160, [0, 1, 1]), (300, [0, 0, 1])],
    )
    def test_each_branch_has_objects_of_its_sizes_and_others_are_strange_to_it(self, side, learnt):
        own, strange, _ = published().spread(square(side))
        assert own.labels[:, 0].tolist() == [2 * one for one in learnt]
        assert strange.labels[:, 0].tolist() == [2 - 2 * one for one in learnt]
        for part in (own, strange):
            assert (part.labels[:, 1:] == 0).all()  # padding stays padding
            assert torch.equal(part.boxes, torch.where(part.labels[..., None] > 0, square(side).boxes, 0.0))
            assert torch.equal(part.sizes, torch.full((3, 2), 400.0))

    def test_the_size_is_the_root_of_the_area(self):
        tall = Targets(torch.tensor([[[0.0, 0, 10, 1000]]]), torch.tensor([[1]]), torch.tensor([[1000.0, 100]]))
        assert published().spread(tall).targets.labels[:, 0].tolist() == [0, 1, 1]  # 100 pixels

    def test_what_is_ignored_stays_ignored(self):
        targets = square(60)._replace(labels=torch.full((1, 8), IGNORED))
        own, strange, _ = published().spread(targets)
        assert (own.labels == IGNORED).all()
        assert (strange.labels == 0).all()

    def test_a_branch_learns_nothing_of_boxes_like_strange_objects_and_all_else(self):
        """An object of 120 pixels is strange to the first branch alone: IoUs 1, 0.3, 0.29 and, inside of it, 0.03."""
        boxes = torch.tensor([[0.0, 0, 120, 120], [0, 0, 120, 36], [0, 0, 120, 35], [40, 40, 60, 60]])
        learnt = published().spread(square(120))
        assert learnt.learns_anchors(boxes).tolist() == [[False, False, True, True], [True] * 4, [True] * 4]
        # As proposals they are also to be of the branch's sizes: 120, 66, 65 and 20 pixels.
        as_proposals = learnt.learns_proposals(boxes.expand(3, -1, -1))
        assert as_proposals.tolist() == [[False, False, True, True], [True, True, True, False], [True] + [False] * 3]


SPANS = ((0.0, 30.0), (20.0, 45.0), (40.0,))


def size(box):
    return float(((box[2] - box[0]) * (box[3] - box[1])).sqrt())


def reference(boxes, objects, low, high, rule, *, are_proposals):
    """What the boxes of one image stand for in one branch: rows of its objects, -1 background, -2 nothing.

    Objects of other sizes are no objects; boxes of an IoU of 0.3 with one of these are nothing, and so are proposals of
    other sizes, or of none.
    """
    own = [row for row, box in enumerate(objects) if low <= size(box) <= high]
    strange = [row for row in range(len(objects)) if row not in own]
    rows = torch.full((len(boxes),), -1)
    if own:
        matched = Matcher(*rule)(box_iou(objects[own], boxes))
        rows = torch.where(matched < 0, matched, torch.tensor(own)[matched.clamp(min=0)])
    for position, box in enumerate(boxes):
        is_like_a_strange_one = any(float(box_iou(box[None], objects[row][None])) >= 0.3 for row in strange)
        if is_like_a_strange_one or (are_proposals and not max(low, 1e-3) <= size(box) <= high):
            rows[position] = -2
    return rows


class Assignments:
    """Every assignment of a loss: the boxes, the rule, what may stand for something, and for what each box stands."""

    def __init__(self, monkeypatch):
        self.of_anchors, self.of_proposals = [], []
        for module, found in ((proposals, self.of_anchors), (dense, self.of_anchors), (regions, self.of_proposals)):
            monkeypatch.setattr(module, "assign", self._recording(module.assign, found))

    @staticmethod
    def _recording(assign, found):
        def recording(boxes, targets, rule, is_valid=None):
            assignment = assign(boxes, targets, rule, is_valid)
            found.append((boxes.expand(len(targets.boxes), -1, -1), rule, is_valid, assignment.rows))
            return assignment

        return recording


class TestAssignment:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_branch_assigns_anchors_and_proposals_as_the_reference_does(self, kind, monkeypatch):
        module, found = build(f"trident({CODE})", kind, branch_ranges=SPANS), Assignments(monkeypatch)
        images, targets = batch()
        module.losses(images, targets, generator=torch.Generator().manual_seed(0))
        assert (len(found.of_anchors), len(found.of_proposals)) == (
            1,
            {"faster-rcnn": 1, "cascade-rcnn": 3}.get(kind, 0),
        )
        for are_proposals, records in ((False, found.of_anchors), (True, found.of_proposals)):
            for number, (boxes, rule, is_valid, rows) in enumerate(records):
                for index in range(len(rows)):
                    branch, image = divmod(index, len(images))
                    low, high = (*SPANS[branch], float("inf"))[:2]
                    objects = targets.boxes[image, targets.labels[image] > 0]
                    expected = reference(boxes[index], objects, low, high, rule, are_proposals=are_proposals)
                    drawn = is_valid[index] if number else torch.ones(len(expected), dtype=torch.bool)
                    assert torch.equal(rows[index], torch.where(drawn, expected, -2))
                    if are_proposals and not number:  # none takes the place of one that the branch learns
                        assert all(low <= size(box) <= high for box in boxes[index] if size(box))

    @pytest.mark.parametrize("kind", KINDS)
    def test_background_inside_strange_objects_is_learnt_by_the_branch_of_small_ones(self, kind, monkeypatch):
        module, found = build(f"trident({CODE})", kind, branch_ranges=SPANS), Assignments(monkeypatch)
        images, _ = batch()
        targets = pad_targets(
            [{"boxes": torch.tensor([[0.0, 0, 90, 90]]), "labels": torch.tensor([1])}] * 2, [(96, 96)] * 2
        )
        module.losses(images, targets, generator=torch.Generator().manual_seed(0))
        (boxes, _, _, rows), *_ = found.of_anchors
        is_inside = ((boxes >= 0) & (boxes <= 90)).all(-1)
        assert (rows[:2][is_inside[:2]] == -1).any()
        assert (rows[:2] < 0).all()  # the object is none of that branch's
        assert (rows[4:] >= 0).any()


class TestLosses:
    @pytest.mark.parametrize("kind", KINDS)
    def test_alike_branches_have_the_plain_loss_of_three_times_the_batch(self, kind, monkeypatch):
        plain = build(CODE, kind)
        ours = build(f"trident({CODE})", kind, plain.state_dict(), branch_ranges=EVERYTHING)
        for module in ours.modules():
            if hasattr(module, "_dilations"):
                module._dilations = (1, 1, 1)
        images, targets = batch()
        tripled = Targets(*(part.repeat(3, *[1] * (part.ndim - 1)) for part in targets))
        with monkeypatch.context() as patched:  # whose draws are those of three branches
            for module in ("faster_rcnn", "cascade_rcnn"):
                patched.setattr(f"spnas_detect.detectors.{module}.global_draw", lambda *one: global_draw(*one[:3], 3))
            expected = plain.losses(torch.cat([images] * 3), tripled, generator=torch.Generator().manual_seed(0))
        found = ours.losses(images, targets, generator=torch.Generator().manual_seed(0))
        assert found.keys() == expected.keys()
        for name, loss in expected.items():
            torch.testing.assert_close(found[name], loss, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_object_out_of_all_ranges_is_no_background_either(self, kind):
        """Where every object is strange to every branch, nothing near them is learnt: box losses are zero."""
        module = build(f"trident({CODE})", kind, branch_ranges=((500.0,),) * 3)
        images, targets = batch()
        losses = module.losses(images, targets, generator=torch.Generator().manual_seed(0))
        boxes = [loss for name, loss in losses.items() if "box" in name or "reg" in name]
        assert boxes
        assert all(float(loss.detach()) == 0 for loss in boxes)


class TestDetections:
    def test_candidates_count_for_the_branch_of_their_size(self):
        branches = Branches(((0.0, 90.0), (30.0, 160.0), (90.0, float("inf"))), is_exact=True)
        sides = torch.tensor([20.0, 60, 120, 300])
        boxes = torch.stack([torch.zeros(4), torch.zeros(4), sides, sides], dim=1).repeat(6, 1, 1)
        scores = torch.arange(1.0, 7)[:, None].expand(6, 4) / 10
        labels = torch.arange(6)[:, None].expand(6, 4)
        merged, kept, whose = branches.merged(boxes, scores, labels)
        assert merged.shape == (2, 12, 4)
        assert whose[0].tolist() == [0] * 4 + [2] * 4 + [4] * 4
        torch.testing.assert_close(kept[0], torch.tensor([0.1, 0.1, 0, 0, 0, 0.3, 0.3, 0, 0, 0, 0.5, 0.5]))
        torch.testing.assert_close(kept[1], torch.tensor([0.2, 0.2, 0, 0, 0, 0.4, 0.4, 0, 0, 0, 0.6, 0.6]))

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_fast_way_is_the_middle_branch_and_the_exact_one_has_all(self, kind):
        text = f"trident({CODE})"
        fast = build(text, kind).eval()
        middle = ((9e8,), (0.0,), (9e8,))
        exact = build(text, kind, fast.state_dict(), branch_ranges=middle, branch_detection="exact").eval()
        every = build(text, kind, fast.state_dict(), branch_ranges=EVERYTHING, branch_detection="exact").eval()
        images, _ = batch()
        for module in (fast, exact, every):  # RetinaNet begins with scores below any threshold
            module.settings = module.settings.model_copy(update={"score_threshold": 0.0})
        with torch.no_grad():
            alone, same, more = (module.detect(images) for module in (fast, exact, every))
        assert alone.counts.tolist() == same.counts.tolist()
        torch.testing.assert_close(same.boxes, alone.boxes, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(same.scores, alone.scores, atol=1e-5, rtol=1e-4)
        assert more.boxes.shape[0] == 2
        assert not torch.equal(more.boxes, alone.boxes)


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "settings", "message"),
        [
            (
                CODE,
                {"branch_ranges": EVERYTHING},
                "is of backbones with branches, and b@8_11-21-21-1 has none",
            ),
            (CODE, {"branch_detection": "exact"}, "branch_detection is of backbones with branches"),
            (f"trident({CODE})", {"branch_ranges": EVERYTHING[:2]}, "branch_ranges has 2 ranges, and"),
        ],
    )
    def test_ranges_go_with_branches(self, text, settings, message):
        with pytest.raises(ConfigError, match=message):
            build(text, **settings)

    def test_a_range_begins_before_it_ends(self):
        with pytest.raises(ValueError, match="least size in front of the greatest"):
            DetectorSettings(branch_ranges=((90.0, 30.0),))

    def test_weights_of_the_code_are_its_weights(self):
        plain = build(CODE)
        ours = build(f"trident({CODE})", parent=plain.state_dict())
        assert isinstance(unchanged(read_network(f"trident({CODE})")), Unchanged)
        assert all(torch.equal(x, plain.state_dict()[name]) for name, x in ours.state_dict().items())
