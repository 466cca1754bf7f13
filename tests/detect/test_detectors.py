"""What holds for every registered detector, Cascade R-CNN against a loop over images, and compiled graphs."""

import pytest
import torch
from same_detections import assert_same_detections
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_core.plugins import registry
from spnas_detect.data import Targets, pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.cascade_rcnn import LOSS_WEIGHTS, RULES, WEIGHTS
from spnas_detect.heads.normalisation import global_draw
from spnas_detect.heads.regions import SMALLEST

NAMES = sorted(registry("detectors").items)
SMALL = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20, "rpn_samples": 16, "box_samples": 12}
CLASSES = 3


def built(name, code="b@4_1-2-2", **settings):
    chosen = DetectorSettings(detector=name, **{**SMALL, **settings})
    generator = torch.Generator().manual_seed(0)
    return build_detector(identity(Architecture.parse(code)), CLASSES, chosen, {}, generator=generator)[0]


def batch(images=3, size=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for count in range(images):  # the first image is empty
        corners = torch.rand(count, 2, generator=generator) * (size - 32)
        sides = 8 + torch.rand(count, 2, generator=generator) * 24
        labels = torch.randint(1, CLASSES + 1, (count,), generator=generator)
        found.append({"boxes": torch.cat([corners, corners + sides], 1), "labels": labels})
    return torch.randn(images, 3, size, size, generator=generator), pad_targets(found, [(size, size)] * images)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_losses_fall(name):
    detector = built(name).train()
    images, targets = batch()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    totals = []
    for step in range(30):
        losses = detector.losses(images, targets, generator=seeded(step))
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        if step == 0:
            dead = [n for n, p in detector.named_parameters() if p.grad is None]
            assert dead == []
        optimizer.step()
        totals.append(float(total.detach()))
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_step(name):
    detector = built(name).train()
    images, targets = batch()
    one, other = (detector.losses(images, targets, generator=seeded(7)) for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", NAMES)
def test_padding_of_targets_changes_no_loss(name):
    detector = built(name, rpn_samples=10**6, box_samples=10**6).train()  # all, or the draw would differ
    images, targets = batch()
    wider = Targets(functional.pad(targets.boxes, (0, 0, 3, 9)), functional.pad(targets.labels, (3, 9)), targets.sizes)
    one, other = (detector.losses(images, t, generator=seeded()) for t in (targets, wider))
    for key, loss in one.items():
        torch.testing.assert_close(loss, other[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_an_ignored_region_over_everything_leaves_no_background(name):
    detector = built(name).train()
    images, targets = batch(images=1)
    whole = Targets(targets.boxes.clone(), targets.labels.clone(), targets.sizes)
    whole.boxes[0, 0] = torch.tensor([-1e4, -1e4, 1e4, 1e4])
    whole.labels[0, 0] = -1
    losses = detector.losses(images, whole, generator=seeded())
    assert all(float(loss.detach()) == 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_detections_stay_inside_their_image_and_fill_rows_in_order(name):
    detector = built(name, score_threshold=0.0).eval()
    images, _ = batch()
    sizes = torch.tensor([[64.0, 64.0], [40.0, 64.0], [64.0, 30.0]])
    found = detector.detect(images, sizes)
    assert (found.counts > 0).all()
    for image, one in enumerate(found.images()):
        height, width = sizes[image].tolist()
        assert one["boxes"].amin() >= 0
        assert (one["boxes"] <= torch.tensor([width, height, width, height])).all()
        assert (one["scores"].diff() <= 0).all()
        assert one["labels"].amin() >= 1
        assert one["labels"].amax() <= CLASSES
        rest = found.scores[image, found.counts[image] :]
        assert not rest.any()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_diverged_network_detects_nothing_and_does_not_fail(name):
    detector = built(name).eval()
    for parameter in detector.parameters():
        parameter.fill_(torch.nan)
    assert detector.detect(batch()[0]).counts.tolist() == [0, 0, 0]


# Cascade R-CNN, image by image


def plain_cascade_losses(detector, images, targets):
    """The losses where sampling keeps everything."""
    features = list(detector.neck(detector.backbone(images)).values())
    proposals = detector.rpn.select(detector.rpn(features), targets.sizes)
    truths = [targets.image(i) for i in range(len(images))]
    boxes = [torch.cat([b[v], t["boxes"]]) for b, v, t in zip(proposals.boxes, proposals.is_valid, truths, strict=True)]
    losses = {}
    for stage, head in enumerate(detector.roi_heads):
        coder, matcher = BoxCoder(WEIGHTS[stage]), Matcher(RULES[stage].foreground, RULES[stage].foreground)
        logits, deltas, labels, wanted, refined = [], [], [], [], []
        for i, own in enumerate(boxes):
            levels = [level[i : i + 1] for level in features]
            predicted = head(levels, own[None])
            logits.append(predicted.logits[0])
            deltas.append(predicted.deltas[0, :, 0])
            if len(truths[i]["boxes"]):
                match = matcher(box_iou(truths[i]["boxes"], own))
                labels.append(torch.where(match >= 0, truths[i]["labels"][match.clamp(min=0)], 0))
                wanted.append(coder.encode_single(truths[i]["boxes"][match.clamp(min=0)], own))
            else:
                labels.append(torch.zeros(len(own), dtype=torch.int64))
                wanted.append(torch.zeros(len(own), 4))
            moved = clip_boxes_to_image(coder.decode_single(deltas[-1].detach(), own), (64, 64))
            refined.append(moved[((moved[:, 2:] - moved[:, :2]) >= SMALLEST).all(1)])
        label, positive = torch.cat(labels), torch.cat(labels) > 0
        box_loss = functional.smooth_l1_loss(
            torch.cat(deltas)[positive], torch.cat(wanted)[positive], beta=1 / 9, reduction="sum"
        )
        weight = LOSS_WEIGHTS[stage]
        losses[f"loss_classifier_{stage + 1}"] = weight * functional.cross_entropy(torch.cat(logits), label)
        losses[f"loss_box_reg_{stage + 1}"] = weight * box_loss / len(label)
        boxes = refined
    return losses


@pytest.mark.parametrize("seed", range(5))
def test_cascade_has_the_losses_of_a_loop_over_images(seed):
    detector = built("cascade-rcnn", rpn_samples=10**6, box_samples=10**6)
    for head in detector.roi_heads:
        torch.nn.init.normal_(head.box_predictor.bbox_pred.weight, std=0.05, generator=seeded(seed))
    detector.eval()  # the norms' statistics do not depend on how images are grouped
    images, targets = batch(images=4, seed=seed)
    ours = detector.losses(images, targets)
    wanted = plain_cascade_losses(detector, images, targets)
    assert ours.keys() - wanted.keys() == {"loss_objectness", "loss_rpn_box_reg"}
    for key, loss in wanted.items():
        torch.testing.assert_close(ours[key], loss, rtol=1e-5, atol=1e-7)
    assert any(float(loss.detach()) > 0 for key, loss in wanted.items() if "box_reg_3" in key)


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_cascade_detects_what_a_loop_over_images_detects(seed):
    detector = built("cascade-rcnn", score_threshold=0.05, max_detections=30).eval()
    for head in detector.roi_heads:
        torch.nn.init.normal_(head.box_predictor.bbox_pred.weight, std=0.05, generator=seeded(seed))
        torch.nn.init.normal_(head.box_predictor.cls_score.weight, std=0.5, generator=seeded(seed))
    images, targets = batch(images=4, seed=seed)
    features = list(detector.neck(detector.backbone(images)).values())
    proposals = detector.rpn.select(detector.rpn(features), targets.sizes)
    wanted = []
    for i in range(len(images)):
        boxes, scores = proposals.boxes[i][proposals.is_valid[i]], 0
        for stage, head in enumerate(detector.roi_heads):
            predicted = head([level[i : i + 1] for level in features], boxes[None])
            boxes = BoxCoder(WEIGHTS[stage]).decode_single(predicted.deltas[0, :, 0], boxes)
            boxes = clip_boxes_to_image(boxes, (64, 64))
            scores = scores + predicted.logits[0].softmax(-1) / 3
        rows, labels = (scores[:, 1:] > 0.05).nonzero(as_tuple=True)
        fit = ((boxes[rows, 2:] - boxes[rows, :2]) >= SMALLEST).all(1)
        rows, labels = rows[fit], labels[fit] + 1
        keep = batched_nms(boxes[rows], scores[rows, labels], labels, 0.5)[:30]
        wanted.append({"boxes": boxes[rows[keep]], "scores": scores[rows[keep], labels[keep]], "labels": labels[keep]})
    assert assert_same_detections(detector.detect(images).images(), wanted, detector.settings).shared > 50


# Graphs

WAITS = ("aten._local_scalar_dense", "aten.item", "aten.nonzero", "aten.masked_select")


def traced_step(detector, images, targets):
    """The graph of a whole training step, backward included."""
    names, parameters = zip(*detector.named_parameters(), strict=True)

    def step(images, targets, *parameters):
        own = {f"detector.{name}": parameter for name, parameter in zip(names, parameters, strict=True)}
        losses = torch.func.functional_call(Losses(detector), own, (images, targets))
        return torch.autograd.grad(torch.stack(losses).sum(), parameters)

    return make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(images, targets, *parameters)


class Losses(torch.nn.Module):
    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, images, targets):
        return tuple(self.detector.losses(images, targets).values())


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_waits_for_no_value(name):
    detector = built(name).train()
    graph = traced_step(detector, *batch()).graph
    targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert any("convolution_backward" in target for target in targets)
    assert any("assign_targets" in target for target in targets)
    found = {target for target in targets if target.startswith(WAITS)}
    # Rows may be taken by number, but not by a mask, whose result has a size that must be waited for.
    for node in graph.nodes:
        if str(node.target).startswith("aten.index."):
            dtypes = [index.meta["val"].dtype for index in node.args[1] if index is not None]
            found |= {f"{node.target} by {dtype}" for dtype in dtypes if dtype == torch.bool}
    assert found == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_step_compiles_as_one_graph(name):
    detector = built(name).train()
    images, targets = batch()
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda: tuple(detector.losses(images, targets).values()), fullgraph=True, backend="aot_eager"
    )
    torch.manual_seed(0)
    got = compiled()
    torch.manual_seed(0)
    wanted = tuple(detector.losses(images, targets).values())
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.stack(got).sum().backward()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_detection_compiles_as_one_graph(name):
    detector = built(name, score_threshold=0.0).eval()
    for path, parameter in detector.named_parameters():
        if path.endswith(("cls_logits.weight", "cls_score.weight")):
            torch.nn.init.normal_(parameter, std=0.5, generator=seeded())
    images, _ = batch()
    torch._dynamo.reset()
    got = torch.compile(detector.detect, fullgraph=True, backend="aot_eager")(images)
    wanted = detector.detect(images)
    assert assert_same_detections(got.images(), wanted.images(), detector.settings).shared > 50


def test_an_image_of_several_branches_has_the_same_noise_whichever_process_has_it(monkeypatch):
    branches, images, width, cpu = 3, 4, 5, torch.device("cpu")
    alone = global_draw((branches * images, width), seeded(3), cpu, branches).view(branches, images, width)
    monkeypatch.setattr("spnas_detect.heads.normalisation._processes", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        part = global_draw((branches * images // 2, width), seeded(3), cpu, branches)
        assert torch.equal(part.view(branches, images // 2, width), alone[:, 2 * rank : 2 * rank + 2])


def test_noise_follows_the_generator():
    one, other = (global_draw((2, 5), seeded(3), torch.device("cpu")) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, global_draw((2, 5), seeded(4), torch.device("cpu")))
