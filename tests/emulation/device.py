"""Calls into the emulated device: tensors of the CPU in, C structures between."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
TYPES = {torch.float64: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}  # copy_weights::Type; else 4

Pointer = ctypes.c_void_p


def load(path: Path) -> ctypes.CDLL:
    """Load the library of an operator."""
    return ctypes.CDLL(str(path))


def numbers(values: Sequence[int]) -> ctypes.Array:
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def pointer(tensor: Tensor | None) -> Pointer:
    return Pointer(None if tensor is None else tensor.data_ptr())


class RoiCall(ctypes.Structure):
    """As ``Call`` in csrc/emulation/roi_align_fpn.cpp."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("levels", ctypes.c_int32),
        ("data", Pointer),
        ("heights", Pointer),
        ("widths", Pointer),
        ("scales", Pointer),
        ("channels_last", Pointer),
        ("rois", Pointer),
        ("count", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("images", "channels", "pooled_height", "pooled_width")),
        *((name, ctypes.c_int32) for name in ("sampling_ratio", "aligned", "first_level", "canonical_level")),
        ("canonical_size", ctypes.c_double),
        ("pooled", Pointer),
    ]


def roi_align_fpn(
    library: ctypes.CDLL,
    which: str,
    seed: int,
    levels: Sequence[Tensor],
    rois: Tensor,
    pooled: Tensor,
    geometry: Sequence[object],
) -> None:
    """Run one pass: ``forward`` writes pooled, ``backward`` adds to levels, ``deterministic_backward`` writes them."""
    scales, height, width, sampling, aligned, first_level, canonical_level, canonical_size = geometry
    count = len(levels)
    data = (Pointer * count)(*(level.data_ptr() for level in levels))
    integers = ctypes.c_int32 * count
    heights, widths = integers(*(level.shape[2] for level in levels)), integers(*(level.shape[3] for level in levels))
    factors = (ctypes.c_float * count)(*scales)
    formats = integers(*(int(not level.is_contiguous()) for level in levels))
    call = RoiCall(
        seed,
        count,
        *(ctypes.cast(array, Pointer) for array in (data, heights, widths, factors, formats)),
        pointer(rois),
        len(rois),
        *levels[0].shape[:2],
        height,
        width,
        sampling,
        int(aligned),
        first_level,
        canonical_level,
        canonical_size,
        pointer(pooled),
    )
    getattr(library, f"emulate_roi_align_{which}_{NAMES[pooled.dtype]}")(ctypes.byref(call))


def nms_grouped(
    library: ctypes.CDLL,
    seed: int,
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    threshold: float,
    max_keep: int,
    masks_infinity: bool,
) -> tuple[Tensor, Tensor]:
    """Suppress in Tensor[N, B, 4]; what is kept, padded, and how many."""
    images, count = scores.shape
    keep = torch.full((images, max_keep), 77, dtype=torch.int64)
    counts = torch.full((images,), 77, dtype=torch.int64)
    library.emulate_nms_grouped(
        ctypes.c_uint64(seed),
        int(boxes.dtype == torch.float64),
        int(scores.dtype == torch.float64),
        *map(pointer, (boxes, scores, groups)),
        ctypes.c_int64(images),
        ctypes.c_int64(count),
        ctypes.c_double(threshold),
        ctypes.c_int64(max_keep),
        int(masks_infinity),
        pointer(keep),
        pointer(counts),
    )
    return keep, counts


def assign_targets(
    library: ctypes.CDLL,
    seed: int,
    boxes: Tensor,
    objects: Tensor,
    labels: Tensor,
    foreground: float,
    background: float,
    keeps_best: bool,
    ignored_overlap: float,
) -> Tensor:
    """Rows of the objects, as the operator gives them."""
    images, per_image = labels.shape
    count = boxes.shape[-2]
    rows = torch.full((images, count), 77, dtype=torch.int64)
    library.emulate_assign_targets(
        ctypes.c_uint64(seed),
        *map(pointer, (boxes, objects, labels)),
        *map(ctypes.c_int64, (images, count, per_image)),
        int(boxes.dim() == 2),
        ctypes.c_double(foreground),
        ctypes.c_double(background),
        int(keeps_best),
        ctypes.c_double(ignored_overlap),
        pointer(rows),
    )
    return rows


class Copy(ctypes.Structure):
    """As ``Copy`` in csrc/emulation/copy_weights.cpp."""

    _fields_ = [
        *((name, Pointer) for name in ("destination", "source", "output_map", "input_map", "scale")),
        ("scale_step", ctypes.c_int64),
        ("dims", ctypes.c_int64),
        *((name, Pointer) for name in ("sizes", "destination_strides", "source_strides")),
        *((name, ctypes.c_int32) for name in ("item_size", "destination_type", "source_type", "is_plain")),
    ]


def copy_weights(library: ctypes.CDLL, seed: int, plan: Sequence[tuple[Tensor | None, ...]]) -> None:
    """Carry out a plan of (destination, source, output map, input map, scale)."""
    kept = []  # the arrays that the structures point to
    copies = (Copy * len(plan))()
    for copy, (destination, source, output_map, input_map, scale) in zip(copies, plan, strict=True):
        shapes = [numbers(values) for values in (destination.shape, destination.stride(), source.stride())]
        kept.append(shapes)
        copy.destination, copy.source = destination.data_ptr(), source.data_ptr()
        copy.output_map, copy.input_map, copy.scale = map(pointer, (output_map, input_map, scale))
        copy.scale_step = int(scale is not None and scale.numel() > 1)
        copy.dims = destination.dim()
        copy.sizes, copy.destination_strides, copy.source_strides = (ctypes.cast(array, Pointer) for array in shapes)
        copy.item_size = destination.element_size()
        copy.destination_type, copy.source_type = (TYPES.get(side.dtype, 4) for side in (destination, source))
        copy.is_plain = is_plain(destination, source, output_map, input_map, scale)
    library.emulate_copy_weights(ctypes.c_uint64(seed), copies, ctypes.c_int64(len(plan)))


def is_plain(destination: Tensor, source: Tensor, *changes: Tensor | None) -> bool:
    """Say whether both sides are one run of bytes, as copy_weights/plan.h does."""
    if any(change is not None for change in changes) or destination.dtype != source.dtype:
        return False
    if destination.is_contiguous() and source.is_contiguous():
        return True
    dims = [dim for dim, size in enumerate(destination.shape) if size > 1]
    steps = sorted((destination.stride(dim), destination.shape[dim]) for dim in dims)
    span = 1
    for stride, size in steps:
        if stride != span:
            return False
        span *= size
    return all(destination.stride(dim) == source.stride(dim) for dim in dims)
