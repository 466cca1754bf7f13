"""Classification and refinement of pooled proposals. Girshick, "Fast R-CNN"; the head of Lin et al., "FPN"."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from spnas_detect.data.targets import Targets
from spnas_detect.heads.assignment import Rule, assign
from spnas_detect.heads.boxes import Weights, clip, decode, take
from spnas_detect.heads.detections import Detections
from spnas_detect.heads.losses import SMOOTH_L1, BoxObjective, class_loss, regression_loss
from spnas_detect.heads.pooling import PyramidPooler
from spnas_detect.heads.proposals import Proposals
from spnas_detect.heads.sampling import sample
from spnas_detect.heads.selection import Merging, select_detections

POSITIVE_FRACTION = 0.25
SMALLEST = 1e-2
"""Pixels that a detection's sides have at least."""


class Regions(NamedTuple):
    """S proposals of each of N images with what they stand for.

    Attributes:
        boxes: float32[N, S, 4].
        labels: int64[N, S] in 0…C; 0 is background.
        objects: float32[N, S, 4]: the box that each with a label stands for.
        is_valid: bool[N, S]; what is not enters no loss.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
    is_valid: Tensor


class RegionPredictions(NamedTuple):
    """What a head says of S boxes.

    Attributes:
        logits: float32[N, S, C + 1], background first.
        deltas: float32[N, S, C + 1, 4], or float32[N, S, 1, 4] where classes share them.
    """

    logits: Tensor
    deltas: Tensor


class BoxPredictor(nn.Module):
    """Two linear layers on one vector per proposal.

    Args:
        channels: length of the vector.
        classes: C.
        is_class_agnostic: whether all classes share one refinement.
    """

    def __init__(self, channels: int, classes: int, *, is_class_agnostic: bool) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, classes + 1)
        self.bbox_pred = nn.Linear(channels, 4 if is_class_agnostic else 4 * (classes + 1))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Predict logits [K, C + 1] and deltas from Tensor[K, channels]."""
        return self.cls_score(vectors), self.bbox_pred(vectors)


class RegionHead(nn.Module):
    """Pools proposals, classifies and refines them.

    Args:
        pooler: from the pyramid.
        channels: of every level.
        hidden: width of the two fully connected layers.
        classes: C.
        weights: of the encoding of deltas.
        is_class_agnostic: whether all classes share one refinement.
        box_objective: of the refinement.
    """

    def __init__(
        self,
        pooler: PyramidPooler,
        channels: int,
        hidden: int,
        classes: int,
        *,
        weights: Weights = (10.0, 10.0, 5.0, 5.0),
        is_class_agnostic: bool = False,
        box_objective: BoxObjective = SMOOTH_L1,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.box_objective = box_objective
        self.weights = weights
        self.box_head = TwoMLPHead(channels * pooler.output_size**2, hidden)
        self.box_predictor = BoxPredictor(hidden, classes, is_class_agnostic=is_class_agnostic)

    def forward(self, features: Sequence[Tensor], boxes: Tensor) -> RegionPredictions:
        """Predict for float32[N, S, 4]."""
        logits, deltas = self.box_predictor(self.box_head(self.pooler(features, boxes)))
        shape = boxes.shape[:2]
        return RegionPredictions(logits.float().reshape(*shape, -1), deltas.float().reshape(*shape, -1, 4))

    def losses(self, predictions: RegionPredictions, regions: Regions) -> dict[str, Tensor]:
        """Compute ``loss_classifier`` and ``loss_box_reg``."""
        is_positive = regions.is_valid & (regions.labels > 0)
        boxes = torch.where(is_positive[..., None], regions.boxes, regions.boxes.new_tensor([0.0, 0.0, 1.0, 1.0]))
        return {
            "loss_classifier": class_loss(predictions.logits, regions.labels, regions.is_valid),
            "loss_box_reg": regression_loss(
                self.box_objective,
                _of_class(predictions.deltas, regions.labels),
                boxes,
                regions.objects,
                self.weights,
                is_positive,
                regions.is_valid.sum(),
            ),
        }

    def refine(self, predictions: RegionPredictions, boxes: Tensor, sizes: Tensor) -> Tensor:
        """Move float32[N, S, 4] as predicted: float32[N, S, C + 1 or 1, 4], clipped."""
        return clip(decode(predictions.deltas, boxes[:, :, None], self.weights), sizes)


def sample_regions(
    proposals: Proposals, targets: Targets, rule: Rule, count: int, noise: Tensor, is_learnt: Tensor | None = None
) -> Regions:
    """Add the objects to the proposals, assign, and draw a sample.

    Args:
        proposals: P of each image.
        targets: G rows of each image.
        rule: thresholds.
        count: S, regions of each image.
        noise: float32[N, P + G] that decides the draw.
        is_learnt: bool[N, P]; proposals that are not stay out. None takes all.
    """
    boxes = torch.cat([proposals.boxes, targets.boxes], dim=1)
    is_offered = proposals.is_valid if is_learnt is None else proposals.is_valid & is_learnt
    is_valid = torch.cat([is_offered, targets.labels > 0], dim=1)
    assignment = assign(boxes, targets, rule, is_valid)
    drawn = sample(assignment.is_positive, assignment.is_negative, count, POSITIVE_FRACTION, noise)
    chosen = assignment.at(drawn.rows)
    return Regions(take(boxes, drawn.rows), chosen.labels(targets), chosen.boxes(targets), drawn.is_valid)


def assign_regions(boxes: Tensor, is_valid: Tensor, targets: Targets, rule: Rule) -> Regions:
    """Say what float32[N, S, 4] stand for, all of them."""
    assignment = assign(boxes, targets, rule, is_valid)
    counts = assignment.is_positive | assignment.is_negative
    return Regions(boxes, assignment.labels(targets), assignment.boxes(targets), counts)


def detect_regions(
    scores: Tensor,
    boxes: Tensor,
    is_valid: Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    most: int,
    merge: Merging | None = None,
) -> Detections:
    """Choose detections among all classes of all proposals.

    Args:
        scores: float32[N, S, C + 1], probabilities, background first.
        boxes: float32[N, S, C + 1 or 1, 4], clipped.
        is_valid: bool[N, S].
        score_threshold: at or below which a candidate is left out.
        iou_threshold: above which the lower-scored box of a class goes.
        most: detections of an image.
        merge: see ``select_detections``.
    """
    images, count, classes = scores.shape
    candidates = boxes[:, :, 1:] if boxes.shape[2] > 1 else boxes.expand(-1, -1, classes - 1, -1)
    labels = torch.arange(1, classes, device=scores.device).expand(images, count, -1)
    return select_detections(
        candidates.reshape(images, -1, 4),
        torch.where(is_valid[..., None], scores[..., 1:], 0.0).reshape(images, -1),
        labels.reshape(images, -1),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        most=most,
        smallest=SMALLEST,
        merge=merge,
    )


def _of_class(deltas: Tensor, labels: Tensor) -> Tensor:
    """Take from Tensor[N, S, C + 1 or 1, 4] what belongs to each label: Tensor[N, S, 4]."""
    if deltas.shape[2] == 1:
        return deltas[:, :, 0]
    return deltas.gather(2, labels[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
