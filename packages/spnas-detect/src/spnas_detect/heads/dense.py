"""A head that classifies and refines every anchor at once. Lin et al., "Focal Loss for Dense Object Detection"."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from spnas_detect.data.targets import Targets
from spnas_detect.heads.anchors import Anchors, Shape
from spnas_detect.heads.assignment import NEITHER, Rule, assign
from spnas_detect.heads.box_losses import box_loss
from spnas_detect.heads.boxes import Weights, clip, decode, take
from spnas_detect.heads.detections import Detections
from spnas_detect.heads.focal import UNCOUNTED, focal_sums
from spnas_detect.heads.losses import L1, BoxObjective
from spnas_detect.heads.selection import Merging, select_detections

WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)
RULE = Rule(foreground=0.5, background=0.4, keeps_best=True)
PRIOR = 0.01
"""Probability of a class with which training starts: nearly all anchors are background."""

PRIOR_BIAS = -math.log((1 - PRIOR) / PRIOR)


class DensePredictions(NamedTuple):
    """What the head says of every anchor.

    Attributes:
        anchors: float32[A, 4].
        counts: anchors of each level.
        logits: float32[N, A, C], of independent classes.
        deltas: float32[N, A, 4].
    """

    anchors: Tensor
    counts: list[int]
    logits: Tensor
    deltas: Tensor


class Tower(nn.Module):
    """Convolutions shared by all levels, and one that predicts.

    Args:
        channels: of every level and in between.
        depth: convolutions before the last.
        name: of the last one.
        outputs: its channels.
    """

    def __init__(self, channels: int, depth: int, name: str, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(Conv2dNormActivation(channels, channels, norm_layer=None) for _ in range(depth)))
        self.last = name
        self.add_module(name, nn.Conv2d(channels, outputs, kernel_size=3, padding=1))

    def forward(self, features: Sequence[Tensor], values: int) -> Tensor:
        """Predict float32[N, A, values] for the anchors of all levels."""
        last = self.get_submodule(self.last)
        levels = [last(self.conv(level)) for level in features]
        rows = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, values) for level in levels]
        return torch.cat(rows, dim=1).float()


class DenseHead(nn.Module):
    """Two towers over all levels.

    Args:
        channels: of every level.
        depth: convolutions of each tower before the last.
        classes: C.
        anchors: on the levels.
        alpha: of the focal loss.
        gamma: of the focal loss.
        box_objective: of the refinement.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        classes: int,
        anchors: Anchors,
        *,
        alpha: float,
        gamma: float,
        box_objective: BoxObjective = L1,
    ) -> None:
        super().__init__()
        self.classification_head = Tower(channels, depth, "cls_logits", anchors.per_position * classes)
        self.regression_head = Tower(channels, depth, "bbox_reg", anchors.per_position * 4)
        self.classes = classes
        self.anchors = anchors
        self.alpha = alpha
        self.gamma = gamma
        self.box_objective = box_objective

    def forward(self, features: Sequence[Tensor], canvas: Shape | None = None) -> DensePredictions:
        """Predict for every anchor on Tensor[N, channels, H_l, W_l] of each level of images of (height, width)."""
        shapes = [(level.shape[-2], level.shape[-1]) for level in features]
        return DensePredictions(
            self.anchors.grid(shapes, features[0].device, canvas),
            self.anchors.counts(shapes),
            self.classification_head(features, self.classes),
            self.regression_head(features, 4),
        )

    def losses(
        self, predictions: DensePredictions, targets: Targets, is_valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute ``classification`` (focal) and ``bbox_regression``.

        Each image's sum is divided by the number of its anchors that stand for an object, at least 1; the mean over
        images follows.

        Args:
            predictions: of all anchors.
            targets: of N images.
            is_valid: bool[N, A]; anchors that are not enter no loss. None takes all.
        """
        anchors = predictions.anchors
        assignment = assign(anchors, targets, RULE, is_valid)
        positives = assignment.is_positive.sum(1).clamp(min=1)  # [N]
        labels = torch.where(assignment.rows == NEITHER, UNCOUNTED, assignment.labels(targets))  # [N, A]
        focal = focal_sums(predictions.logits, labels, self.alpha, self.gamma)
        loss, weight = self.box_objective
        objects = assignment.boxes(targets)
        distance = box_loss(loss, predictions.deltas, anchors, objects, WEIGHTS, assignment.is_positive).sum(1)
        return {
            "classification": (focal / positives).mean(),
            "bbox_regression": (distance / positives).mean() * weight,
        }

    def select(
        self,
        predictions: DensePredictions,
        sizes: Tensor,
        *,
        candidates: int,
        score_threshold: float,
        iou_threshold: float,
        most: int,
        merge: Merging | None = None,
    ) -> Detections:
        """Choose detections among the best (anchor, class) pairs of each level.

        Args:
            predictions: of all anchors.
            sizes: float32[N, 2], (height, width) of the images.
            candidates: pairs of each level that enter suppression.
            score_threshold: at or below which a pair is left out.
            iou_threshold: above which the lower-scored box of a class goes.
            most: detections of an image.
            merge: see ``select_detections``.
        """
        scores, rows, labels, first = [], [], [], 0
        for count, logits in zip(
            predictions.counts, torch.split(predictions.logits, predictions.counts, dim=1), strict=True
        ):
            flat = logits.flatten(1)
            best = flat.topk(min(candidates, flat.shape[1]), dim=1, sorted=False)
            scores.append(best.values.sigmoid())
            rows.append(best.indices // self.classes + first)
            labels.append(best.indices % self.classes + 1)
            first += count
        chosen = torch.cat(rows, dim=1)  # [N, B]
        boxes = clip(decode(take(predictions.deltas, chosen), predictions.anchors[chosen], WEIGHTS), sizes)
        return select_detections(
            boxes,
            torch.cat(scores, dim=1),
            torch.cat(labels, dim=1),
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            most=most,
            merge=merge,
        )
