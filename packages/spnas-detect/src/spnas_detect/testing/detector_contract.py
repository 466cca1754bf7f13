"""What every detector must keep, as a suite to run over one's own.

With pytest, subclass it in a test file:

    from spnas_detect.testing import DetectorContract

    class TestMine(DetectorContract):
        factory = Mine
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.backbones import fresh_network
from spnas_core.encoding import Architecture
from spnas_core.inheritance import Init, fill_
from spnas_detect.data.targets import Targets, pad_targets
from spnas_detect.detectors import DetectorFactory, DetectorSettings
from spnas_detect.heads.results import known_detections, known_losses
from spnas_detect.necks import FPN

CLASSES, SIDE, STEPS = 3, 64, 30
BACKBONE = Architecture.parse("b@4_1-2-2")


class DetectorContract:
    """A detector learns with all that it has, by losses that its generator decides, and detects inside its images.

    Attributes:
        factory: that is tested; a detector's class serves.
        settings: small ones; every score is kept.
    """

    factory: DetectorFactory
    settings = DetectorSettings(
        neck_channels=8, head_channels=16, rpn_proposals=20, rpn_samples=16, box_samples=12, score_threshold=0.0
    )

    def test_it_keeps_its_parts(self) -> None:
        """Backbone and neck are the children of these names, and first values are said of all other tensors."""
        detector = self._make()
        children = dict(detector.named_children())
        assert isinstance(children.get("neck"), FPN)
        assert "backbone" in children
        assert any(not name.startswith(("backbone.", "neck.")) for name in detector.state_dict()), "it has no heads"

    def test_it_is_made_without_values(self) -> None:
        """On the meta device, where inheritance begins."""
        with torch.device("meta"):
            backbone = fresh_network(BACKBONE, seed=0).to("meta")
            neck = FPN(backbone.feature_info, self.settings.neck_channels)
            detector = type(self).factory(backbone, neck, CLASSES, self.settings)
        assert all(parameter.is_meta for parameter in detector.parameters())

    def test_every_parameter_learns_and_losses_fall(self) -> None:
        """On three images, one of them without an object."""
        detector, (images, targets) = self._make().train(), _batch()
        optimizer, totals = torch.optim.AdamW(detector.parameters(), lr=3e-3), []
        for step in range(STEPS):
            total = torch.stack(list(self._losses(detector, images, targets, step).values())).sum()
            assert total.isfinite(), f"the losses of step {step} are {total}"
            optimizer.zero_grad()
            torch.autograd.backward(total)
            if not step:
                assert [name for name, one in detector.named_parameters() if one.grad is None] == []
            optimizer.step()
            totals.append(float(total.detach()))
        first, last = sum(totals[:5]), sum(totals[-5:])
        assert last < 0.9 * first, f"in {STEPS} steps the losses went from {first / 5:.3g} to {last / 5:.3g}"

    def test_the_generator_decides_the_losses(self) -> None:
        """The same one gives the same losses, and torch's own is left as it was."""
        detector, (images, targets) = self._make().train(), _batch()
        before = torch.random.get_rng_state()
        one, other = (self._losses(detector, images, targets, 7) for _ in range(2))
        assert torch.equal(before, torch.random.get_rng_state()), "torch's own generator was drawn from"
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_padding_of_targets_changes_no_loss(self) -> None:
        """Rows of zeros behind an image's own boxes, as of an image with few in a batch with many."""
        detector, (images, targets) = self._make(rpn_samples=10**6, box_samples=10**6).train(), _batch()
        boxes, labels = functional.pad(targets.boxes, (0, 0, 0, 9)), functional.pad(targets.labels, (0, 9))
        wider = Targets(boxes, labels, targets.sizes)
        one, other = (self._losses(detector, images, given, 7) for given in (targets, wider))
        for name, loss in one.items():
            torch.testing.assert_close(other[name], loss, rtol=1e-4, atol=1e-6)

    @torch.no_grad()
    def test_detections_lie_in_their_images_the_best_first(self) -> None:
        """Of classes that there are, in images that do not fill their canvas."""
        detector, (images, _) = self._make().eval(), _batch()
        sizes = torch.tensor([[64.0, 64.0], [40.0, 64.0], [64.0, 30.0]])
        for given in (None, sizes):
            found = known_detections(detector, detector.detect(images, given), len(images))  # type: ignore[operator]
            for image, one in enumerate(found.images()):
                height, width = (SIDE, SIDE) if given is None else sizes[image].tolist()
                boxes, scores, labels = one["boxes"], one["scores"], one["labels"]
                assert boxes.isfinite().all()
                assert (boxes >= 0).all()
                assert (boxes <= torch.tensor([width, height, width, height])).all(), f"outside {width} × {height}"
                assert (scores.diff() <= 0).all()
                assert ((labels >= 1) & (labels <= CLASSES)).all()
                assert not found.scores[image, len(scores) :].any(), "there are scores behind the detections"
            assert int(found.counts.sum()) > 0, "with every score kept nothing is detected"

    @torch.no_grad()
    def test_detections_are_a_function_of_the_image(self) -> None:
        """In evaluation mode, whatever else is in the batch."""
        detector, (images, _) = self._make().eval(), _batch()
        together = detector.detect(images).images()  # type: ignore[operator]
        for image, expected in zip(images, together, strict=True):
            (alone,) = detector.detect(image[None]).images()  # type: ignore[operator]
            assert len(alone["scores"]) == len(expected["scores"])
            torch.testing.assert_close(alone["scores"], expected["scores"], rtol=1e-3, atol=1e-4)

    def _losses(self, detector: nn.Module, images: Tensor, targets: Targets, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return known_losses(detector, detector.losses(images, targets, generator=generator))  # type: ignore[operator]

    def _make(self, **changes: int) -> nn.Module:
        """Make a detector with its own first values."""
        settings = self.settings.model_copy(update=changes)
        backbone = fresh_network(BACKBONE, seed=0)
        neck = FPN(backbone.feature_info, settings.neck_channels)
        detector = type(self).factory(backbone, neck, CLASSES, settings)
        assert isinstance(detector, nn.Module)
        generator = torch.Generator().manual_seed(0)
        for name, tensor in detector.state_dict().items():
            if name.startswith("backbone."):
                continue
            init = neck.initial(name[5:]) if name.startswith("neck.") else detector.initial(name, tensor.shape)  # type: ignore[operator]
            assert isinstance(init, Init), f"{name} starts as {init!r}"
            fill_(tensor, init, generator)
        return detector


def _batch() -> tuple[Tensor, Targets]:
    generator, found = torch.Generator().manual_seed(0), []
    for count in range(3):  # the first image is empty
        corners = torch.rand(count, 2, generator=generator) * (SIDE - 32)
        sides = 8 + torch.rand(count, 2, generator=generator) * 24
        labels = torch.randint(1, CLASSES + 1, (count,), generator=generator)
        found.append({"boxes": torch.cat([corners, corners + sides], 1), "labels": labels})
    return torch.randn(3, 3, SIDE, SIDE, generator=generator), pad_targets(found, [(SIDE, SIDE)] * 3)
