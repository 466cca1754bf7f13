"""Scale-aware training of backbones with branches, and what they detect."""

import pytest
import torch

from spnas_core.backbones import Unchanged, read_network, unchanged
from spnas_core.errors import ConfigError
from spnas_detect.data.targets import IGNORED, Targets, pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.branches import Branches, branches_of

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
    def test_each_branch_learns_objects_of_its_sizes_and_ignores_others(self, side, learnt):
        spread = published().spread(square(side))
        assert [int(label) for label in spread.labels[:, 0]] == [2 if one else IGNORED for one in learnt]
        assert (spread.labels[:, 1:] == 0).all()  # padding stays padding
        assert torch.equal(spread.boxes, square(side).boxes.repeat(3, 1, 1))
        assert torch.equal(spread.sizes, torch.full((3, 2), 400.0))

    def test_the_size_is_the_root_of_the_area(self):
        tall = Targets(torch.tensor([[[0.0, 0, 10, 1000]]]), torch.tensor([[1]]), torch.tensor([[1000.0, 100]]))
        assert published().spread(tall).labels[:, 0].tolist() == [-1, 1, 1]  # 100 pixels

    def test_what_is_ignored_stays_ignored(self):
        targets = square(60)._replace(labels=torch.full((1, 8), IGNORED))
        assert (published().spread(targets).labels == IGNORED).all()


class TestLosses:
    @pytest.mark.parametrize("kind", KINDS)
    def test_alike_branches_have_the_plain_loss_of_three_times_the_batch(self, kind):
        plain = build(CODE, kind)
        ours = build(f"trident({CODE})", kind, plain.state_dict(), branch_ranges=EVERYTHING)
        for module in ours.modules():
            if hasattr(module, "_dilations"):
                module._dilations = (1, 1, 1)
        images, targets = batch()
        tripled = Targets(*(part.repeat(3, *[1] * (part.ndim - 1)) for part in targets))
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
