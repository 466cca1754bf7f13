"""Non-maximum suppression inside many groups in one call."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spnas_kernels._batching import folded, images_of, refuse_vmap, register_vmap, unfolded
from spnas_kernels._checks import dense, number, whole_number
from spnas_kernels._library import check_devices, is_certain, is_loaded, is_native
from spnas_kernels.references import nms_grouped as reference

MAX_COORDINATES = 2**31
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def nms_grouped(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int | None = None
) -> Tensor:
    """Keep the boxes that no better kept one of their group overlaps by more than a threshold.

    The result is that of ``torchvision.ops.batched_nms``, bit for bit, without its shift of coordinates: a box goes if
    its IoU with a kept box of its group and of higher score is above the threshold (at the threshold it stays). IoU is
    intersection / (area + area - intersection) in the boxes' dtype, each operation rounded; 0 / 0 overlaps nothing.
    Of equal scores the lower index comes first. float16 and bfloat16 are computed in float32. Nothing flows backwards.

    On the CPU groups are shared among threads, and one group is one thread's work, however large it is. On CUDA the
    walk through a group is parallel inside.

    On CUDA the call waits for the device once, for the size of the result; boxes with a NaN in them or in their score
    are never kept there.

    Args:
        boxes: Tensor[K, 4] of (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, in any unit; floating point.
        scores: Tensor[K], floating point; -inf is a score like another.
        groups: Tensor[K] of int64, any values: only boxes of equal value meet (image and class, image and level).
        iou_threshold: in [0, 1].
        max_keep: at most so many; None for all.

    Returns:
        Tensor[M] of int64: kept indices over all groups by descending score.

    Raises:
        ValueError: a shape, dtype, device or number is not as above, or there are more than 2**31 coordinates.
        RuntimeError: a NaN in boxes or scores on the CPU.
    """
    max_keep = None if max_keep is None else whole_number("max_keep", max_keep)
    iou_threshold = number("iou_threshold", iou_threshold)
    boxes, scores, groups = _checked(boxes, scores, groups, iou_threshold, max_keep, leading="K")
    run = torch.ops.spnas.nms_grouped if is_native(boxes) else reference.nms_grouped
    keep: Tensor = run(boxes, scores, groups, iou_threshold)
    return keep if max_keep is None else keep[:max_keep]


def nms_grouped_padded(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes of each image as ``nms_grouped`` does, in tensors of fixed shape.

    Neither sizes nor values go to the host: on CUDA the call waits for nothing, and it compiles as a full graph.

    Args:
        boxes: Tensor[N, B, 4] of (x1, y1, x2, y2); floating point.
        scores: Tensor[N, B], floating point. A box whose score is -inf is padding: never kept, and in nobody's way.
        groups: Tensor[N, B] of int64, any values; boxes of two images never meet.
        iou_threshold: in [0, 1].
        max_keep: how many of each image are kept at most.

    Returns:
        Tensor[N, max_keep] of int64, kept indices into B by descending score and -1 behind them, and Tensor[N] of
        int64, how many there are.

    Raises:
        ValueError: a shape, dtype, device or number is not as above, or there are more than 2**31 coordinates.
        RuntimeError: a NaN in boxes or scores on the CPU, padding included; on CUDA such a box is taken for padding.
    """
    max_keep = whole_number("max_keep", max_keep)
    iou_threshold = number("iou_threshold", iou_threshold)
    boxes, scores, groups = _checked(boxes, scores, groups, iou_threshold, max_keep, leading="N, B")
    run = torch.ops.spnas.nms_grouped_padded if is_native(boxes) else reference.nms_grouped_padded
    keep, counts = run(boxes, scores, groups, iou_threshold, max_keep)
    return keep, counts


def _checked(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int | None, leading: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Refuse bad input, and bring the tensors to what the operators take."""
    for name, given in (("boxes", boxes), ("scores", scores), ("groups", groups)):
        dense(name, given)
    dims = leading.count(",") + 1
    if boxes.dim() != dims + 1 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be Tensor[{leading}, 4], not of shape {tuple(boxes.shape)}")
    for name, tensor in (("scores", scores), ("groups", groups)):
        if tensor.shape != boxes.shape[:-1]:
            raise ValueError(
                f"{name} must be Tensor[{leading}], one for each box {tuple(boxes.shape[:-1])}, not of shape "
                f"{tuple(tensor.shape)}"
            )
        if tensor.device != boxes.device:
            raise ValueError(f"{name} must be on the boxes' device {boxes.device}, not on {tensor.device}")
    _check_types(boxes, scores, groups)
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in [0, 1], not {iou_threshold}")
    if max_keep is not None and max_keep < 0:
        raise ValueError(f"max_keep must be at least 0, not {max_keep}")
    if is_certain(boxes.numel() > MAX_COORDINATES):
        raise ValueError(f"boxes must hold at most 2**31 coordinates, not {boxes.numel()}: split the call")
    return _computed(boxes), _computed(scores), groups.contiguous()


def _check_types(boxes: Tensor, scores: Tensor, groups: Tensor) -> None:
    for name, tensor in (("boxes", boxes), ("scores", scores)):
        if tensor.dtype not in _FLOATS:
            raise ValueError(f"{name} must be float64, float32, float16 or bfloat16, not {tensor.dtype}")
    if groups.dtype != torch.int64:
        raise ValueError(f"groups must be int64, not {groups.dtype}")


def _computed(values: Tensor) -> Tensor:
    wide = values.dtype if values.dtype in {torch.float64, torch.float32} else torch.float32
    return values.detach().to(wide).contiguous()


if is_loaded():

    def _fake(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
        check_devices("boxes", boxes, scores=scores, groups=groups)
        return groups.new_empty(torch.library.get_ctx().new_dynamic_size())

    def _fake_padded(
        boxes: Tensor,
        scores: Tensor,
        groups: Tensor,
        iou_threshold: float,
        max_keep: int,
    ) -> tuple[Tensor, Tensor]:
        check_devices("boxes", boxes, scores=scores, groups=groups)
        return groups.new_empty(groups.shape[0], max_keep), groups.new_empty(groups.shape[0])

    torch.library.register_fake("spnas::nms_grouped", _fake)
    torch.library.register_fake("spnas::nms_grouped_padded", _fake_padded)

    def _vmap_padded(
        info: Any, in_dims: Sequence[int | None], boxes: Tensor, scores: Tensor, groups: Tensor, *numbers: object
    ) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        tensors = zip((boxes, scores, groups), in_dims[:3], strict=True)
        inputs = [folded(tensor, dim, info.batch_size) for tensor, dim in tensors]
        images = images_of(boxes, in_dims[0])
        results = torch.ops.spnas.nms_grouped_padded(*inputs, *numbers)
        return tuple(unfolded(result, info.batch_size, images) for result in results), (0, 0)

    register_vmap("nms_grouped_padded", _vmap_padded)
    refuse_vmap("nms_grouped", "each call keeps another number of boxes. Use nms_grouped_padded")
