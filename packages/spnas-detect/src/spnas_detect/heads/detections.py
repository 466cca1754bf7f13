"""What a detector finds in a batch of images, padded to one shape."""

from typing import NamedTuple

from torch import Tensor


class Detections(NamedTuple):
    """The detections of N images, best first, each padded to K rows.

    Attributes:
        boxes: float32[N, K, 4] of (x1, y1, x2, y2) in canvas pixels; zeros in padding.
        scores: float32[N, K], descending; zeros in padding.
        labels: int64[N, K] in 1…C; 0 in padding.
        counts: int64[N], detections of each image; the rows after them are padding.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    counts: Tensor

    def images(self) -> list[dict[str, Tensor]]:
        """Cut the padding off: ``boxes``, ``scores`` and ``labels`` of each image, on the CPU."""
        boxes, scores, labels, counts = (part.cpu() for part in self)
        return [
            {"boxes": boxes[i, :count], "scores": scores[i, :count], "labels": labels[i, :count]}
            for i, count in enumerate(counts.tolist())
        ]
