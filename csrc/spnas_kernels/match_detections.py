"""Greedy matching of detections to ground truth over a whole data set."""

import difflib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from spnas_kernels._checks import flag
from spnas_kernels._library import BUILD_COMMAND, KernelsMissingError, find, mode, problems, usable
from spnas_kernels.references import match_detections as reference

MatchingPolicy: TypeAlias = Literal["best-unmatched", "best-then-flag"]

_DETECTIONS_PER_THREAD = 16384  # fewer are matched before a thread has started
_Match: TypeAlias = Callable[..., tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the detections.

    A curve is one cumulative sum away: ``np.cumsum(matches.outcome[matches.order] == 1)`` counts true positives by
    falling score.

    Attributes:
        truth: int64 [D], index of the truth that a detection matched, real or ignored; -1 for a false positive.
        outcome: int8 [D], 1 for a true positive, 0 for a false positive, -1 for neither: it matched an ignored truth.
        order: int64 [D], the detections by falling score, of equal scores the lower index first.
    """

    truth: NDArray[np.int64]
    outcome: NDArray[np.int8]
    order: NDArray[np.int64]


def match_detections(
    detections: NDArray[np.float64],
    scores: NDArray[np.float64],
    detection_images: NDArray[np.int64],
    truths: NDArray[np.float64],
    truth_images: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    *,
    iou_threshold: float = 0.5,
    inclusive: bool = True,
    regions: NDArray[np.bool_] | None = None,
    pixel_offset: float = 0.0,
    policy: MatchingPolicy = "best-unmatched",
    threads: int | None = None,
) -> Matches:
    """Match each image's detections, by falling score, to its truths of one class.

    Policies:
        ``best-unmatched``: a detection takes the real truth of highest IoU among those that fit and that none has taken
            before, and is a true positive. If there is none, the ignored truth of highest overlap that fits, which any
            number of detections can match, makes it neither. Otherwise it is a false positive. This is the matching of
            EuroCity Persons, and COCO's with its crowds given as regions.
        ``best-then-flag``: a detection looks at the truth of highest overlap, taken or not. If that one doesn't fit,
            the detection is a false positive; if it is ignored, neither; if it is taken, a false positive; otherwise
            the detection takes it. This is Pascal VOC's devkit (``VOCevaldet.m``), with ``pixel_offset=1.0``, and
            ``voc_eval`` of py-faster-rcnn, which wants more than the threshold, with ``inclusive=False`` besides.

    A truth fits if its overlap reaches the threshold. Of equal overlaps, that of the truth of lower index counts as the
    highest; of equal scores, the detection of lower index comes first.

    Example: two detections [0, 0, 10, 9] have IoU 0.9 with truth [0, 0, 10, 10] and 0.89 with truth [0, 0, 10, 8]. The
    second one takes the second truth under ``best-unmatched``, and is a false positive under ``best-then-flag``.

    COCO's evaluator differs in three ways: it takes the last of equal overlaps, lets an ignored truth that is no crowd
    match once only, and lowers a threshold of 1 to 1 - 1e-10.

    Args:
        detections: float64 [D, 4] of x1, y1, x2, y2, finite, x1 <= x2 and y1 <= y2. Float and integer arrays of other
            types and layouts are converted, here and below; contiguous ones of the type named are used without a copy.
        scores: float64 [D], no NaN.
        detection_images: int64 [D], any number for an image.
        truths: float64 [G, 4], as the detections.
        truth_images: int64 [G], the same numbers.
        ignored: bool [G], truths that need not be found, and whose detections don't count.
        iou_threshold: in (0, 1].
        inclusive: whether an overlap equal to the threshold reaches it.
        regions: bool [G], ignored truths whose overlap is the intersection over the detection's area instead of IoU;
            None for none.
        pixel_offset: added to every width and height, the intersection's too: 1.0 where x2 and y2 are the last pixels.
        policy: ``best-unmatched`` or ``best-then-flag``.
        threads: at most so many; None for torch's number, or fewer for little work. Results don't depend on it.

    Returns:
        Matches, with an entry per detection.

    Raises:
        ValueError: an argument is not as described.

    IoU is inter / (area + area - inter) in float64; boxes without area overlap nothing.
    """
    boxes = _boxes("detections", detections)
    truth_boxes = _boxes("truths", truths)
    score_values = _column("scores", scores, np.float64, "detections", len(boxes))
    if np.isnan(score_values).any():
        raise ValueError(f"scores must not be NaN: entry {np.flatnonzero(np.isnan(score_values))[0]} is")
    box_images = _column("detection_images", detection_images, np.int64, "detections", len(boxes))
    truth_box_images = _column("truth_images", truth_images, np.int64, "truths", len(truth_boxes))
    ignored_flags = _column("ignored", ignored, np.bool_, "truths", len(truth_boxes))
    region_flags = None
    if regions is not None:
        region_flags = _column("regions", regions, np.bool_, "truths", len(truth_boxes))
        wrong = np.flatnonzero(region_flags & ~ignored_flags)
        if len(wrong):
            raise ValueError(f"regions must be ignored truths: truth {wrong[0]} is a region and not ignored")
    if not _is_number(iou_threshold, Real) or not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in (0, 1], not {iou_threshold!r}")
    if not _is_number(pixel_offset, Real) or not 0 <= pixel_offset < math.inf:
        raise ValueError(f"pixel_offset must be a finite number from 0 on, not {pixel_offset!r}")
    inclusive = flag("inclusive", inclusive)
    if threads is None:
        threads = min(torch.get_num_threads(), 1 + len(boxes) // _DETECTIONS_PER_THREAD)
    elif not _is_number(threads, Integral) or threads < 1:
        raise ValueError(f"threads must be a whole number from 1 on, or None, not {threads!r}")
    _check_policy(policy)
    truth, outcome, order = (_native or reference.match)(
        boxes,
        score_values,
        box_images,
        truth_boxes,
        truth_box_images,
        ignored_flags,
        region_flags,
        float(iou_threshold),
        inclusive,
        float(pixel_offset),
        policy == "best-then-flag",
        min(int(threads), 1024),
    )
    return Matches(truth, outcome, order)


def _find_native() -> _Match | None:
    """The compiled module's function, None where the reference shall run instead.

    Raises:
        KernelsMissingError: SPNAS_KERNELS=require and the module isn't there.
    """
    wanted = mode()
    if wanted == "reference":
        return None
    if usable("_matching") is not None:
        try:
            from spnas_kernels._matching import match
        except ImportError as error:
            problems["_matching"] = f"its matching module does not load ({error})"
        else:
            return match
    if wanted == "require":
        raise KernelsMissingError(f"spnas_kernels is required and {problems['_matching']}: {BUILD_COMMAND}")
    if find("_matching") is not None or find("_cpu") is not None:  # that nothing was built at all is _library's to tell
        warnings.warn(
            f"match_detections runs in plain NumPy, many times slower: {problems['_matching']}. Build it: "
            f"{BUILD_COMMAND}",
            stacklevel=2,
        )
    return None


def _boxes(name: str, given: Any) -> NDArray[np.float64]:
    boxes = _array(name, given, np.float64, "[N, 4]")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape [N, 4], not {list(boxes.shape)}")
    finite = np.isfinite(boxes)
    if not finite.all():
        row = np.flatnonzero(~finite.all(axis=1))[0]
        raise ValueError(f"{name} must be finite: box {row} is {boxes[row].tolist()}")
    ordered = boxes[:, :2] <= boxes[:, 2:]
    if not ordered.all():
        row = np.flatnonzero(~ordered.all(axis=1))[0]
        raise ValueError(f"{name} must have x1 <= x2 and y1 <= y2: box {row} is {boxes[row].tolist()}")
    return boxes


def _column(name: str, given: Any, dtype: type[Any], boxes_name: str, length: int) -> NDArray[Any]:
    column = _array(name, given, dtype, "[N]")
    if column.shape != (length,):
        raise ValueError(
            f"{name} must have one entry for each of the {length} {boxes_name}, not shape {list(column.shape)}"
        )
    return column


def _array(name: str, given: Any, dtype: type[Any], shape: str) -> NDArray[Any]:
    """Give an array that native code can read: its dtype, contiguous, aligned; as it came if it is so already."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of shape {shape}: {error}") from error
    # Integers become floats; what would lose its meaning (a float as image number, a number as flag) does not pass.
    fits = array.dtype.kind in "iuf" if dtype is np.float64 else np.can_cast(array.dtype, dtype, "safe")
    if not fits or (dtype is np.int64 and array.dtype.kind == "b"):
        raise ValueError(f"{name} must be {np.dtype(dtype).name} {shape}, not {array.dtype}")
    return np.require(array, dtype, ["C", "A"])


def _is_number(given: object, kind: type) -> bool:
    return isinstance(given, kind) and not isinstance(given, bool)


def _check_policy(policy: object) -> None:
    known = get_args(MatchingPolicy)
    if policy in known:
        return
    close = difflib.get_close_matches(str(policy), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
    raise ValueError(f"policy must be one of {', '.join(map(repr, known))}, not {policy!r}: {hint}")


_native = _find_native()
