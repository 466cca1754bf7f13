"""RoIAlign over a whole feature pyramid in one call."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spnas_kernels._batching import folded, in_front, register_vmap, unfolded
from spnas_kernels._library import check_devices, is_certain, is_loaded, is_native
from spnas_kernels.references import roi_align_fpn as reference

MOST_ELEMENTS = 2**31


def roi_align_fpn(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    *,
    sampling_ratio: int = 0,
    aligned: bool = False,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
    first_level: int | None = None,
) -> Tensor:
    """Pool every RoI from the pyramid level that fits its size, all levels in one launch.

    Level k = ⌊canonical_level + log2(√area / canonical_size)⌋, clamped to the levels that exist. Equal to torchvision's
    ``MultiScaleRoIAlign``; with one level, to its ``roi_align``. Differentiable once, for the features.

    Args:
        features: one Tensor[N, C, H_l, W_l] per level, finest first; float32, float16 or bfloat16, on the CPU also
            float64; contiguous or channels-last (others are copied).
        rois: Tensor[K, 5] of (image index, x1, y1, x2, y2) in input-image pixels, x1 <= x2, y1 <= y2; float32, float64
            where the features are. Parts outside the image count as torchvision counts them.
        output_size: height and width of the output, or one number for both.
        spatial_scales: feature pixels per input-image pixel of each level, for example 1/4, 1/8, ….
        sampling_ratio: samples per bin and axis; 0 takes as many as the bin has pixels, rounded up.
        aligned: shift coordinates by half a pixel, so that pixel centres align.
        canonical_size: side, in input-image pixels, of a square RoI that belongs to the canonical level.
        canonical_level: number of that level.
        first_level: number of the finest level; by default what its scale says: 2 for 1/4.

    Returns:
        Tensor[K, C, pooled_h, pooled_w] in the features' dtype, contiguous.

    Raises:
        ValueError: no level; ranks, channels, dtypes or devices that don't fit; sizes out of range.
        RuntimeError: on the CPU, an RoI that is not finite, has a negative size, or belongs to no image. On CUDA, where
            looking would mean waiting, such an RoI gives zeros.

    Level rule: Lin et al., "Feature Pyramid Networks", eq. 1; pooling: He et al., "Mask R-CNN", section 3.
    """
    features, rois = _cast_for_autocast(list(features), rois)
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    _check(features, rois, height, width, spatial_scales, sampling_ratio, canonical_size)
    if first_level is None:
        first_level = round(-math.log2(spatial_scales[0]))
    geometry = (
        [float(scale) for scale in spatial_scales],
        height,
        width,
        sampling_ratio,
        aligned,
        first_level,
        canonical_level,
        float(canonical_size),
    )
    rois = rois.detach().contiguous()
    if not is_native(features[0]):
        return reference.roi_align_fpn(features, rois, *geometry)
    pooled: Tensor = torch.ops.spnas.roi_align_fpn([_dense(feature) for feature in features], rois, *geometry)
    return pooled


def _cast_for_autocast(features: list[Tensor], rois: Tensor) -> tuple[list[Tensor], Tensor]:
    """Under autocast: features of one dtype, coordinates never in less than float32."""
    kind = features[0].device.type if features else "meta"
    if kind != "meta" and torch.is_autocast_enabled(kind):  # torch has no autocast to ask for on meta
        if len({feature.dtype for feature in features}) > 1:
            dtype = torch.get_autocast_dtype(kind)
            features = [feature.to(dtype) for feature in features]
        if rois.dtype in {torch.float16, torch.bfloat16}:
            rois = rois.float()
    return features, rois


def _dense(feature: Tensor) -> Tensor:
    return feature if feature.is_contiguous() or _is_channels_last(feature) else feature.contiguous()


def _is_channels_last(feature: Tensor) -> bool:
    """As the operator asks; torch's own question is not answered under torch.vmap."""
    span = 1
    for dim in (1, 3, 2, 0):
        if feature.shape[dim] != 1 and feature.stride(dim) != span:
            return False
        span *= feature.shape[dim]
    return True


def _check(
    features: Sequence[Tensor],
    rois: Tensor,
    height: int,
    width: int,
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    canonical_size: float,
) -> None:
    _check_features(features)
    _check_rois(rois, features[0])
    if height < 1 or width < 1 or height * width > 2**20:
        raise ValueError(f"output_size is {height} x {width}: both must be positive, with at most 2^20 bins")
    count, channels = rois.shape[0], features[0].shape[1]
    if is_certain(count * channels * height * width >= MOST_ELEMENTS):
        raise ValueError(
            f"{count} rois of {channels} channels and {height} x {width} bins give 2^31 elements or more: pool them in "
            "parts"
        )
    if len(spatial_scales) != len(features) or not all(0 < scale < math.inf for scale in spatial_scales):
        raise ValueError(
            f"spatial_scales is {list(spatial_scales)} for {len(features)} levels: one positive number each is needed"
        )
    if not 0 <= sampling_ratio <= 2**20:
        raise ValueError(f"sampling_ratio is {sampling_ratio}: it must be 0 (adaptive) or a number up to 2^20")
    if not 0 < canonical_size < math.inf:
        raise ValueError(f"canonical_size is {canonical_size}: it must be a positive number of pixels")


def _check_features(features: Sequence[Tensor]) -> None:
    if not features:
        raise ValueError("features is empty: at least one level is needed")
    first = features[0]
    supported = _DTYPES["cuda" if first.is_cuda else "cpu"]
    if first.dtype not in supported:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in supported)
        raise ValueError(f"features are {first.dtype} on {first.device.type}: they must be {names}")
    for level, feature in enumerate(features):
        if feature.dim() != 4 or 0 in feature.shape[2:]:
            raise ValueError(f"features[{level}] has shape {tuple(feature.shape)}: it must be Tensor[N, C, H, W]")
        if feature.shape[:2] != first.shape[:2]:
            raise ValueError(
                f"features[{level}] has {feature.shape[0]} images and {feature.shape[1]} channels, features[0] "
                f"{first.shape[0]} and {first.shape[1]}: all levels must agree"
            )
        if feature.dtype != first.dtype or feature.device != first.device:
            raise ValueError(
                f"features[{level}] is {feature.dtype} on {feature.device}, features[0] {first.dtype} on "
                f"{first.device}: all levels must agree"
            )
        if is_certain(feature.numel() >= MOST_ELEMENTS):
            raise ValueError(f"features[{level}] has {feature.numel()} elements: at most 2^31 - 1 are supported")


def _check_rois(rois: Tensor, feature: Tensor) -> None:
    if rois.dim() != 2 or rois.shape[1] != 5:
        raise ValueError(
            f"rois has shape {tuple(rois.shape)}: it must be Tensor[K, 5] of (image index, x1, y1, x2, y2)"
        )
    wanted = torch.float64 if feature.dtype == torch.float64 else torch.float32
    if rois.dtype != wanted or rois.device != feature.device:
        raise ValueError(
            f"rois are {rois.dtype} on {rois.device}: beside {feature.dtype} features on {feature.device} they must be "
            f"{wanted} there"
        )


_DTYPES = {
    "cpu": (torch.float32, torch.float64, torch.float16, torch.bfloat16),
    "cuda": (torch.float32, torch.float16, torch.bfloat16),
}

if is_loaded():

    def _fake(features: list[Tensor], rois: Tensor, scales: list[float], height: int, width: int, *_: object) -> Tensor:
        others = {f"features[{level}]": feature for level, feature in enumerate(features)}
        check_devices("features[0]", features[0], **others, rois=rois)
        return features[0].new_empty((rois.shape[0], features[0].shape[1], height, width))

    def _fake_backward(
        gradient: Tensor,
        rois: Tensor,
        images: int,
        heights: list[int],
        widths: list[int],
        channels_last: list[int],
        *_: object,
    ) -> list[Tensor]:
        check_devices("the gradient", gradient, rois=rois)
        return [
            torch.empty(
                (images, gradient.shape[1], height, width),
                dtype=gradient.dtype,
                device=gradient.device,
                memory_format=torch.channels_last if is_last else torch.contiguous_format,
            )
            for height, width, is_last in zip(heights, widths, channels_last, strict=True)
        ]

    def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        features, rois, *geometry = inputs
        ctx.save_for_backward(rois)
        ctx.geometry = geometry
        ctx.images = features[0].shape[0]
        ctx.heights = [feature.shape[2] for feature in features]
        ctx.widths = [feature.shape[3] for feature in features]
        ctx.channels_last = [int(not feature.is_contiguous()) for feature in features]

    def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (rois,) = ctx.saved_tensors
        gradients = torch.ops.spnas.roi_align_fpn_backward(
            gradient.contiguous(),
            rois,
            ctx.images,
            ctx.heights,
            ctx.widths,
            ctx.channels_last,
            torch.are_deterministic_algorithms_enabled(),
            *ctx.geometry,
        )
        return gradients, None, *[None] * len(ctx.geometry)

    # A batch of calls is one call with more images: RoIs of call b belong to images b · N to (b + 1) · N - 1.
    def _rois_of_all(rois: Tensor, dim: int | None, size: int, images: int) -> Tensor:
        rois = in_front(rois, dim, size)
        index = rois[..., :1]
        first = torch.arange(size, device=rois.device, dtype=rois.dtype)[:, None, None] * images
        # An image that does not exist must not become another call's.
        index = torch.where(index < 0, index, torch.where(index < images, index + first, index + images * size))
        return torch.cat([index, rois[..., 1:]], dim=-1).flatten(0, 1)

    def _vmap(
        info: Any, in_dims: Sequence[Any], features: list[Tensor], rois: Tensor, *geometry: object
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        feature_dims = in_dims[0] if in_dims[0] is not None else [None] * len(features)
        if all(dim is None for dim in feature_dims):  # so only RoIs are batched
            pooled = torch.ops.spnas.roi_align_fpn(features, rois.movedim(in_dims[1], 0).flatten(0, 1), *geometry)
            return unfolded(pooled, size), 0
        images = features[0].shape[0] if feature_dims[0] is None else features[0].movedim(feature_dims[0], 0).shape[1]
        levels = [_dense(folded(feature, dim, size)) for feature, dim in zip(features, feature_dims, strict=True)]
        pooled = torch.ops.spnas.roi_align_fpn(levels, _rois_of_all(rois, in_dims[1], size, images), *geometry)
        return unfolded(pooled, size), 0

    def _vmap_backward(
        info: Any, in_dims: Sequence[Any], gradient: Tensor, rois: Tensor, images: int, *rest: object
    ) -> tuple[list[Tensor], list[int]]:
        size = info.batch_size
        gradients = torch.ops.spnas.roi_align_fpn_backward(
            folded(gradient, in_dims[0], size).contiguous(),
            _rois_of_all(rois, in_dims[1], size, images),
            images * size,
            *rest,
        )
        return [unfolded(level, size) for level in gradients], [0] * len(gradients)

    def _refuse_double_backward(ctx: Any, *_: object) -> tuple[Any, ...]:
        raise RuntimeError("roi_align_fpn can be differentiated once only: its backward has no gradient of its own")

    torch.library.register_fake("spnas::roi_align_fpn", _fake)
    torch.library.register_fake("spnas::roi_align_fpn_backward", _fake_backward)
    torch.library.register_autograd("spnas::roi_align_fpn", _backward, setup_context=_setup_context)
    torch.library.register_autograd("spnas::roi_align_fpn_backward", _refuse_double_backward)
    register_vmap("roi_align_fpn", _vmap)
    register_vmap("roi_align_fpn_backward", _vmap_backward)
