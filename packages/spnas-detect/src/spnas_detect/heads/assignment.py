"""Which object an anchor or a proposal stands for."""

from typing import NamedTuple

import torch
from torch import Tensor

from spnas_detect.data.targets import Targets
from spnas_detect.heads.boxes import take
from spnas_kernels import assign_targets

BACKGROUND = -1
NEITHER = -2


class Rule(NamedTuple):
    """When a box stands for an object.

    Attributes:
        foreground: IoU with its best object from which on a box stands for it.
        background: IoU below which a box is background; between both it is neither.
        keeps_best: whether the boxes that overlap an object best stand for their best object however little that is,
            so that no object goes without.
    """

    foreground: float
    background: float
    keeps_best: bool = False


class Assignment(NamedTuple):
    """What A boxes of each of N images stand for.

    Attributes:
        rows: int64[N, A]: a row of the targets, -1 for background, -2 for neither.
        is_positive: bool[N, A].
        is_negative: bool[N, A].
    """

    rows: Tensor
    is_positive: Tensor
    is_negative: Tensor

    @classmethod
    def from_rows(cls, rows: Tensor) -> "Assignment":
        """Read an assignment from its rows."""
        return cls(rows, rows >= 0, rows == BACKGROUND)

    def at(self, chosen: Tensor) -> "Assignment":
        """What the boxes int64[N, S] alone stand for."""
        return Assignment.from_rows(take(self.rows, chosen))

    def boxes(self, targets: Targets) -> Tensor:
        """float32[N, A, 4]: the objects' boxes; the first row's where there is none."""
        return targets.boxes.gather(1, self.rows.clamp(min=0)[..., None].expand(-1, -1, 4))

    def labels(self, targets: Targets) -> Tensor:
        """int64[N, A] in 0…C; 0 where there is no object."""
        return torch.where(self.is_positive, targets.labels.gather(1, self.rows.clamp(min=0)), 0)


def assign(boxes: Tensor, targets: Targets, rule: Rule, is_valid: Tensor | None = None) -> Assignment:
    """Assign objects to boxes by IoU. Ren et al., "Faster R-CNN", section 3.1.2.

    A box half of which lies in an ignored region, and that stands for no object, is neither.

    Args:
        boxes: float32[A, 4], the same for all images, or float32[N, A, 4].
        targets: of N images.
        rule: thresholds.
        is_valid: bool[N, A]; what is not valid is neither. None takes all.
    """
    rows = assign_targets(
        boxes, targets.boxes, targets.labels, rule.foreground, rule.background, keeps_best=rule.keeps_best
    )
    if is_valid is not None:
        rows = torch.where(is_valid, rows, NEITHER)
    return Assignment.from_rows(rows)
