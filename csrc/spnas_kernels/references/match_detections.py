"""Matching detection by detection."""

import numpy as np
from numpy.typing import NDArray


def match(
    detections: NDArray[np.float64],
    scores: NDArray[np.float64],
    detection_images: NDArray[np.int64],
    truths: NDArray[np.float64],
    truth_images: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    regions: NDArray[np.bool_] | None,
    iou_threshold: float,
    inclusive: bool,
    pixel_offset: float,
    flags_the_best: bool,
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
    """As ``spnas_kernels.match_detections``, with all arguments given and checked; one thread.

    Returns:
        truth, outcome and order of its ``Matches``.
    """
    if regions is None:
        regions = np.zeros(len(truths), dtype=np.bool_)
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    truth = np.full(len(scores), -1, dtype=np.int64)
    outcome = np.zeros(len(scores), dtype=np.int8)
    choose = _choose_then_flag if flags_the_best else _choose_unmatched
    detections_by_image = order[np.argsort(detection_images[order], kind="stable")]
    truths_by_image = np.argsort(truth_images, kind="stable")
    images, counts = np.unique(detection_images, return_counts=True)
    sorted_images = truth_images[truths_by_image]
    first_truths = np.searchsorted(sorted_images, images, side="left")
    end_truths = np.searchsorted(sorted_images, images, side="right")
    begin = 0
    for count, first_truth, end_truth in zip(counts, first_truths, end_truths, strict=True):
        own = detections_by_image[begin : begin + count]
        begin += count
        candidates = truths_by_image[first_truth:end_truth]
        overlaps = _overlaps(detections[own], truths[candidates], regions[candidates], pixel_offset)
        fits = overlaps >= iou_threshold if inclusive else overlaps > iou_threshold
        is_ignored = ignored[candidates]
        is_taken = np.zeros(len(candidates), dtype=np.bool_)
        for row, detection in enumerate(own):
            place, outcome[detection] = choose(overlaps[row], fits[row], is_ignored, is_taken)
            if place >= 0:
                truth[detection] = candidates[place]
    return truth, outcome, order


def _overlaps(
    boxes: NDArray[np.float64], truths: NDArray[np.float64], regions: NDArray[np.bool_], pixel_offset: float
) -> NDArray[np.float64]:
    """Compute [D, G] of IoU, or of intersection over the detection's area for regions; 0 / 0 and overflow are 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        x1, y1, x2, y2 = boxes.T[:, :, None]  # each [D, 1]
        truth_x1, truth_y1, truth_x2, truth_y2 = truths.T[:, None, :]  # each [1, G]
        widths = np.maximum(np.minimum(x2, truth_x2) - np.maximum(x1, truth_x1) + pixel_offset, 0.0)
        heights = np.maximum(np.minimum(y2, truth_y2) - np.maximum(y1, truth_y1) + pixel_offset, 0.0)
        intersections = widths * heights
        areas = (x2 - x1 + pixel_offset) * (y2 - y1 + pixel_offset)
        truth_areas = (truth_x2 - truth_x1 + pixel_offset) * (truth_y2 - truth_y1 + pixel_offset)
        wholes = np.where(regions, areas, areas + truth_areas - intersections)
        overlaps = intersections / wholes  # [D, G]
    return np.where(np.isfinite(overlaps), overlaps, 0.0)


def _choose_unmatched(
    overlaps: NDArray[np.float64], fits: NDArray[np.bool_], ignored: NDArray[np.bool_], taken: NDArray[np.bool_]
) -> tuple[int, int]:
    """Pick the best free real truth, or else the best ignored one; the first of equals."""
    for wanted, outcome in ((fits & ~ignored & ~taken, 1), (fits & ignored, -1)):
        if wanted.any():
            place = int(np.argmax(np.where(wanted, overlaps, -1.0)))
            taken[place] = outcome == 1
            return place, outcome
    return -1, 0


def _choose_then_flag(
    overlaps: NDArray[np.float64], fits: NDArray[np.bool_], ignored: NDArray[np.bool_], taken: NDArray[np.bool_]
) -> tuple[int, int]:
    """Pick the best truth whatever it is, the first of equals, and then see whether it is to be had."""
    if not fits.any():
        return -1, 0
    place = int(np.argmax(overlaps))
    if ignored[place]:
        return place, -1
    if taken[place]:
        return -1, 0
    taken[place] = True
    return place, 1
