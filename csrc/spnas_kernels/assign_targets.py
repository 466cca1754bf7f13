"""Which object each anchor or proposal of a batch stands for."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spnas_kernels._batching import folded, images_of, in_front, register_vmap, unfolded
from spnas_kernels._checks import dense, flag, number
from spnas_kernels._library import check_devices, is_certain, is_loaded, is_native
from spnas_kernels.references import assign_targets as reference

MOST_BOXES = 2**31


def assign_targets(
    boxes: Tensor,
    objects: Tensor,
    labels: Tensor,
    foreground: float,
    background: float,
    *,
    keeps_best: bool = False,
    ignored_overlap: float = 0.5,
) -> Tensor:
    """Assign objects to boxes by IoU, for a whole batch and without the matrix of all IoUs.

    A box whose greatest IoU with an object is at or above ``foreground`` gets that object, of equal ones the first;
    below ``background`` it is background, between both neither. With ``keeps_best``, a box that overlaps some object at
    least as much as every other box does, and at all, gets its own best object however small the IoU. A box that then
    is background, and that lies in an ignored region with the share ``ignored_overlap`` of its area, is neither. IoU is
    intersection / (area + area - intersection) in float32, each operation rounded; what is no number overlaps nothing.

    Equal to torchvision's ``Matcher`` on ``box_iou``, but for objects that no box overlaps: its low-quality matches for
    such an object are all boxes. Ren et al., "Faster R-CNN", section 3.1.2. Nothing flows backwards.

    Args:
        boxes: float32[A, 4] of (x1, y1, x2, y2), the same for all images, or float32[N, A, 4].
        objects: float32[N, G, 4].
        labels: int64[N, G]: above 0 an object, 0 padding, below 0 an ignored region.
        foreground: in (0, 1].
        background: in [0, foreground].
        keeps_best: see above.
        ignored_overlap: in (0, 1].

    Returns:
        int64[N, A]: a row of the objects, -1 for background, -2 for neither.

    Raises:
        ValueError: a shape, dtype, device or number is not as above, or there are 2**31 boxes or more.

    Example: objects of IoU 0.8 and 0.4 with a box, thresholds 0.7 and 0.3: row 0. Of IoU 0.4 and 0.2: neither (-2), but
    row 0 if no other box overlaps that object more and ``keeps_best`` is set.
    """
    foreground, background = number("foreground", foreground), number("background", background)
    keeps_best, ignored_overlap = flag("keeps_best", keeps_best), number("ignored_overlap", ignored_overlap)
    _check(dense("boxes", boxes), dense("objects", objects), dense("labels", labels))
    _check_thresholds(foreground, background, ignored_overlap)
    boxes, objects, labels = boxes.detach().contiguous(), objects.detach().contiguous(), labels.contiguous()
    run = torch.ops.spnas.assign_targets if is_native(boxes) else reference.assign_targets
    rows: Tensor = run(boxes, objects, labels, foreground, background, keeps_best, ignored_overlap)
    return rows


def _check(boxes: Tensor, objects: Tensor, labels: Tensor) -> None:
    if objects.dim() != 3 or objects.shape[-1] != 4:
        raise ValueError(f"objects must be Tensor[N, G, 4], not of shape {tuple(objects.shape)}")
    if labels.shape != objects.shape[:2]:
        raise ValueError(
            f"labels must be Tensor[N, G], one for each object {tuple(objects.shape[:2])}, not of shape "
            f"{tuple(labels.shape)}"
        )
    if boxes.dim() not in {2, 3} or boxes.shape[-1] != 4 or (boxes.dim() == 3 and boxes.shape[0] != objects.shape[0]):
        images = objects.shape[0]
        raise ValueError(
            f"boxes must be Tensor[A, 4] or, for {images} images, Tensor[{images}, A, 4], not of shape "
            f"{tuple(boxes.shape)}"
        )
    for name, tensor, dtype in (
        ("boxes", boxes, torch.float32),
        ("objects", objects, torch.float32),
        ("labels", labels, torch.int64),
    ):
        if tensor.dtype != dtype:
            raise ValueError(f"{name} must be {str(dtype).removeprefix('torch.')}, not {tensor.dtype}")
        if tensor.device != boxes.device:
            raise ValueError(f"{name} must be on the boxes' device {boxes.device}, not on {tensor.device}")
    if is_certain(objects.shape[0] * boxes.shape[-2] >= MOST_BOXES):
        raise ValueError(f"{objects.shape[0]} images of {boxes.shape[-2]} boxes are 2**31 or more: split the call")


def _check_thresholds(foreground: float, background: float, ignored_overlap: float) -> None:
    if not 0 <= background <= foreground <= 1 or foreground == 0:
        raise ValueError(
            f"foreground is {foreground} and background {background}: 0 <= background <= foreground <= 1 and "
            "foreground > 0 must hold"
        )
    if not 0 < ignored_overlap <= 1:
        raise ValueError(f"ignored_overlap must be in (0, 1], not {ignored_overlap}")


if is_loaded():

    def _fake(
        boxes: Tensor,
        objects: Tensor,
        labels: Tensor,
        foreground: float,
        background: float,
        keeps_best: bool,
        ignored_overlap: float,
    ) -> Tensor:
        check_devices("boxes", boxes, objects=objects, labels=labels)
        return labels.new_empty(objects.shape[0], boxes.shape[-2])

    def _vmap(
        info: Any, in_dims: Sequence[int | None], boxes: Tensor, objects: Tensor, labels: Tensor, *numbers: object
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        images = images_of(objects, in_dims[1])
        if in_dims[0] is not None or boxes.dim() == 3:  # else all calls and images share the boxes
            boxes = in_front(boxes, in_dims[0], size)
            boxes = (boxes if boxes.dim() == 4 else boxes[:, None].expand(-1, images, -1, -1)).flatten(0, 1)
        rows = torch.ops.spnas.assign_targets(
            boxes, folded(objects, in_dims[1], size), folded(labels, in_dims[2], size), *numbers
        )
        return unfolded(rows, size, images), 0

    torch.library.register_fake("spnas::assign_targets", _fake)
    register_vmap("assign_targets", _vmap)
