"""The region proposal network. Ren et al., "Faster R-CNN"."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.rpn import RPNHead

from spnas_detect.data.targets import Targets
from spnas_detect.heads.anchors import Anchors, Shape
from spnas_detect.heads.assignment import Rule, assign
from spnas_detect.heads.boxes import Weights, clip, decode, is_at_least, is_within, take
from spnas_detect.heads.losses import SMOOTH_L1, BoxObjective, objectness_loss, regression_loss
from spnas_detect.heads.revisit import convolve_at, is_worthwhile
from spnas_detect.heads.sampling import sample
from spnas_detect.heads.selection import is_filled, suppress

WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)
SMALLEST = 1e-3  # pixels
RULE = Rule(foreground=0.7, background=0.3, keeps_best=True)
POSITIVE_FRACTION = 0.5
IOU_THRESHOLD = 0.7


class Proposals(NamedTuple):
    """P proposals of each of N images, best first.

    Attributes:
        boxes: float32[N, P, 4], clipped to the images.
        is_valid: bool[N, P]; False in padding, whose boxes are zeros.
    """

    boxes: Tensor
    is_valid: Tensor

    def trimmed(self) -> "Proposals":
        """Cut off rows that no image fills, where looking costs nothing: on the CPU, outside of a compiled graph."""
        if self.boxes.device.type != "cpu" or torch.compiler.is_compiling():
            return self
        rows = max(1, int(self.is_valid.sum(1).amax()))
        return Proposals(self.boxes[:, :rows], self.is_valid[:, :rows])


class AnchorPredictions(NamedTuple):
    """What the network says of every anchor.

    Attributes:
        anchors: float32[A, 4].
        counts: anchors of each level.
        objectness: float32[N, A], logits.
        deltas: float32[N, A, 4].
    """

    anchors: Tensor
    counts: list[int]
    objectness: Tensor
    deltas: Tensor


class ProposalNetwork(nn.Module):
    """Scores and refines the anchors of all levels, and keeps the best of each image.

    Args:
        channels: of every level.
        anchors: on the levels.
        candidates: anchors of each level that enter suppression.
        proposals: P, kept of an image.
        samples: anchors of an image in the loss.
        box_objective: of the refinement.
    """

    def __init__(
        self,
        channels: int,
        anchors: Anchors,
        *,
        candidates: int,
        proposals: int,
        samples: int,
        box_objective: BoxObjective = SMOOTH_L1,
    ) -> None:
        super().__init__()
        self.head = RPNHead(channels, anchors.per_position)
        self.anchors = anchors
        self.candidates = candidates
        self.proposals = proposals
        self.samples = samples
        self.box_objective = box_objective

    def forward(self, features: Sequence[Tensor], canvas: Shape | None = None) -> AnchorPredictions:
        """Predict for every anchor on Tensor[N, C, H_l, W_l] of each level of images of (height, width)."""
        objectness, deltas = self.head(list(features))
        shapes = [(level.shape[-2], level.shape[-1]) for level in features]
        return AnchorPredictions(
            self.anchors.grid(shapes, features[0].device, canvas),
            self.anchors.counts(shapes),
            torch.cat([level.permute(0, 2, 3, 1).flatten(1) for level in objectness], dim=1).float(),
            torch.cat([_rows(level) for level in deltas], dim=1).float(),
        )

    def scan(self, features: Sequence[Tensor], canvas: Shape | None = None) -> AnchorPredictions:
        """Predict as ``forward`` does; without gradients where ``losses`` computes them from its sample alone."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._revisits(features)):
            return self.forward(features, canvas)

    def select(self, predictions: AnchorPredictions, sizes: Tensor, ranges: Tensor | None = None) -> Proposals:
        """Keep the best proposals inside images. Nothing flows backwards.

        Args:
            predictions: for every anchor.
            sizes: float32[N, 2], (height, width) of the images.
            ranges: float32[N, 2]: least and greatest √(width · height) of proposals; None takes any.
        """
        anchors, counts = predictions.anchors, predictions.counts
        objectness, deltas = predictions.objectness.detach(), predictions.deltas.detach()
        rows, levels, first = [], [], 0
        for level, scores in enumerate(torch.split(objectness, counts, dim=1)):
            best = scores.topk(min(self.candidates, scores.shape[1]), dim=1, sorted=False).indices
            rows.append(best + first)
            levels.append(torch.full_like(best, level))
            first += counts[level]
        chosen = torch.cat(rows, dim=1)  # [N, B]
        boxes = clip(decode(take(deltas, chosen), anchors[chosen], WEIGHTS), sizes)
        is_fit = is_at_least(boxes, SMALLEST)
        keep, kept = suppress(
            boxes,
            objectness.gather(1, chosen),
            torch.cat(levels, dim=1),
            is_fit if ranges is None else is_fit & is_within(boxes, ranges),
            IOU_THRESHOLD,
            self.proposals,
        )
        is_valid = is_filled(kept, self.proposals)
        return Proposals(torch.where(is_valid[..., None], take(boxes, keep), 0.0), is_valid)

    def losses(
        self,
        features: Sequence[Tensor],
        predictions: AnchorPredictions,
        targets: Targets,
        noise: Tensor,
        is_valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute ``loss_objectness`` and ``loss_rpn_box_reg``.

        Args:
            features: Tensor[N, C, H_l, W_l] of each level.
            predictions: of ``scan`` or ``forward`` on them.
            targets: of N images.
            noise: float32[N, A], decides the sample.
            is_valid: bool[N, A]; anchors that are not enter no loss. None takes all.
        """
        assignment = assign(predictions.anchors, targets, RULE, is_valid)
        drawn = sample(assignment.is_positive, assignment.is_negative, self.samples, POSITIVE_FRACTION, noise)
        anchors = predictions.anchors[drawn.rows]  # [N, S, 4]
        objects = assignment.at(drawn.rows).boxes(targets)
        if self._revisits(features):
            objectness, deltas = self._predict_at(features, drawn.rows)
        else:
            objectness, deltas = predictions.objectness.gather(1, drawn.rows), take(predictions.deltas, drawn.rows)
        return {
            "loss_objectness": objectness_loss(objectness, drawn.is_positive, drawn.is_valid),
            "loss_rpn_box_reg": regression_loss(
                self.box_objective, deltas, anchors, objects, WEIGHTS, drawn.is_positive, drawn.is_valid.sum()
            ),
        }

    def _revisits(self, features: Sequence[Tensor]) -> bool:
        return is_worthwhile([(level.shape[-2], level.shape[-1]) for level in features], self.samples)

    def _predict_at(self, features: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Predict float32[N, S] and float32[N, S, 4] for the anchors int64[N, S] alone."""
        each = self.anchors.per_position
        hidden = self.head.conv[0][1](convolve_at(self.head.conv[0][0], features, rows // each))
        logits, deltas = self.head.cls_logits, self.head.bbox_pred
        which = (rows % each)[..., None]
        objectness = functional.linear(hidden, logits.weight.flatten(1), logits.bias).gather(2, which)[..., 0]
        boxes = functional.linear(hidden, deltas.weight.flatten(1), deltas.bias).reshape(*rows.shape, each, 4)
        return objectness.float(), boxes.gather(2, which[..., None].expand(-1, -1, -1, 4))[:, :, 0].float()


def _rows(deltas: Tensor) -> Tensor:
    """Turn Tensor[N, 4·a, H, W] into Tensor[N, H·W·a, 4]."""
    return deltas.permute(0, 2, 3, 1).reshape(deltas.shape[0], -1, 4)
