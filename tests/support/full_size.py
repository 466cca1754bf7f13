"""torchvision's detectors at full size, with random weights that behave as trained ones: for tests."""

import torch
from torch import nn
from torchvision.models import detection
from torchvision.models._meta import _COCO_CATEGORIES

COCO = tuple(_COCO_CATEGORIES)
NAMED = tuple(name for name in COCO[1:] if name != "N/A")
"""COCO's 80 categories."""

ABSENT = [number for number, name in enumerate(COCO) if name == "N/A"]

FASTER_RCNN = {
    "detector": "faster-rcnn",
    "neck_channels": 256,
    "head_channels": 1024,
    "extra_levels": "pool",
    "anchor_sizes": ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)),
    "anchor_strides": "canvas",
    "aspect_ratios": (0.5, 1.0, 2.0),
    "rpn_candidates": 1000,
    "rpn_proposals": 1000,
    "rpn_samples": 256,
    "box_samples": 512,
    "pooled_size": 7,
    "sampling_ratio": 2,
    "finest_size": 56,
    "score_threshold": 0.05,
    "max_detections": 100,
}
RETINANET = {
    "detector": "retinanet",
    "neck_channels": 256,
    "levels": ("s2", "s3", "s4"),
    "extra_levels": "conv",
    "anchor_sizes": tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)),
    "anchor_strides": "canvas",
    "aspect_ratios": (0.5, 1.0, 2.0),
    "score_threshold": 0.05,
    "max_detections": 300,
}
SETTINGS = {"fasterrcnn_resnet50_fpn": FASTER_RCNN, "retinanet_resnet50_fpn": RETINANET}
"""Our settings for each of torchvision's models."""

SPREADS = {"cls_score": 2.0, "cls_logits": 0.7, "bbox_pred": 0.1, "bbox_reg": 0.1}
"""Standard deviation that each kind of prediction is given.

Scores far enough apart that rounding reorders none; boxes that stay near their anchors, as trained ones do: of those
that leave the image a sliver would remain, whose overlap with others is a matter of rounding.
"""


@torch.no_grad()
def trained_like(name, seed=0, **keywords):
    """Build a model whose norms have the statistics of their input, and whose scores give detections."""
    torch.manual_seed(seed)
    model = getattr(detection, name)(weights=None, weights_backbone=None, **keywords)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of what follows
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.2)
    images = torch.randn(2, 3, 192, 256)
    sides = model.transform.min_size
    if name.startswith("faster"):  # quicker, and enough: its scores are of regions, which are small whatever the canvas
        model.transform.min_size = (192,)
    model.train().backbone(images)
    for norm in norms:
        norm.momentum = 0.1
    model.eval()
    for path, layer in model.named_modules():
        spread = SPREADS.get(path.rpartition(".")[2])
        if spread is None:
            continue
        seen = []
        handle = layer.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output.flatten()))
        model(list(images * 0.2 + 0.5))
        handle.remove()
        layer.weight.mul_(spread / torch.cat(seen).std())
        if path.endswith("cls_logits") and name.startswith("retinanet"):
            layer.bias.fill_(-3)
    model.transform.min_size = sides
    silence_absent(model)
    return model


@torch.no_grad()
def silence_absent(model):
    """Let numbers without a category never be found, as after training."""
    if hasattr(model, "roi_heads"):
        scores = model.roi_heads.box_predictor.cls_score
        scores.weight[ABSENT], scores.bias[ABSENT] = 0.0, -1e4
        return
    logits = model.head.classification_head.cls_logits
    for number in (0, *ABSENT):
        rows = torch.arange(number, len(logits.weight), len(COCO))
        logits.weight[rows], logits.bias[rows] = 0.0, -1e4


def pictures(count, shorter, seed=0):
    """Images of both orientations in [0, 1], of about twice as many pixels as a network sees."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        ratio = 1.0 + 0.7 * float(torch.rand((), generator=generator))
        sides = (shorter, round(shorter * ratio))
        height, width = sides if number % 2 else sides[::-1]
        coarse = torch.rand(1, 3, height // 8, width // 8, generator=generator)
        smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0]
        found.append((smooth + 0.1 * torch.randn(3, height, width, generator=generator)).clamp(0, 1))
    return found
