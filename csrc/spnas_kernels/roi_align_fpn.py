"""RoIAlign over a whole feature pyramid in one call."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spnas_kernels._batching import folded, images_of, in_front, register_vmap, unfolded
from spnas_kernels._checks import dense, dense_list, flag, listed, number, whole_number
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
    ``MultiScaleRoIAlign``; with one level, to its ``roi_align``. Differentiable once, for the features, also under
    ``torch.func`` and in forward mode. What a bin does not read has no part in it, be it infinite or no number; a pixel
    of weight zero is not read.

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
        ValueError: no level; ranks, channels, dtypes or devices that don't fit; sizes out of range; an argument
            of the wrong kind.
        RuntimeError: on the CPU, an RoI that is not finite, has a negative size, or belongs to no image. On CUDA, where
            looking would mean waiting, such an RoI gives zeros.

    Level rule: Lin et al., "Feature Pyramid Networks", eq. 1; pooling: He et al., "Mask R-CNN", section 3.
    """
    features, rois = _cast_for_autocast(dense_list("features", features), dense("rois", rois))
    height, width = _pooled_size(output_size)
    scales = [number(f"spatial_scales[{k}]", scale) for k, scale in enumerate(listed("spatial_scales", spatial_scales))]
    sampling_ratio, aligned = whole_number("sampling_ratio", sampling_ratio), flag("aligned", aligned)
    canonical_size = number("canonical_size", canonical_size)
    canonical_level = whole_number("canonical_level", canonical_level)
    _check(features, rois, height, width, scales, sampling_ratio, canonical_size)
    first_level = round(-math.log2(scales[0])) if first_level is None else whole_number("first_level", first_level)
    geometry = (scales, height, width, sampling_ratio, aligned, first_level, canonical_level, canonical_size)
    rois = rois.detach().contiguous()
    if not is_native(features[0]):
        return reference.roi_align_fpn(features, rois, *geometry)
    levels = [_dense(feature) for feature in features]
    return _pooled(rois, geometry, levels)


def _pooled_size(output_size: Any) -> tuple[int, int]:
    sizes = [output_size] * 2 if not isinstance(output_size, Sequence) or isinstance(output_size, str) else output_size
    if len(sizes) != 2:
        raise ValueError(f"output_size is {output_size!r}: height and width, or one number for both, are needed")
    return whole_number("output_size", sizes[0]), whole_number("output_size", sizes[1])


def _pooled(rois: Tensor, geometry: tuple[Any, ...], levels: Sequence[Tensor]) -> Tensor:
    """Call the operator so that whoever looks on learns of its derivatives; a compiler asks the operator itself."""
    pooled: Tensor
    if torch.compiler.is_compiling():
        pooled = torch.ops.spnas.roi_align_fpn(levels, rois, *geometry)
    elif _is_transformed():
        pooled = _TransformedPool.apply(rois, geometry, *levels)  # type: ignore[no-untyped-call]
    elif torch.is_grad_enabled() and any(level.requires_grad for level in levels):
        pooled = _Pool.apply(rois, geometry, *levels)  # type: ignore[no-untyped-call]
    else:
        pooled = torch.ops.spnas.roi_align_fpn(levels, rois, *geometry)
    return pooled


def _is_transformed() -> bool:
    """Say whether torch.func or forward mode looks on: they know Functions, and not what an operator registers."""
    transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)  # noqa: SLF001
    return forward_ad._current_level >= 0 or transforms_active()  # noqa: SLF001


def _cast_for_autocast(features: list[Tensor], rois: Tensor) -> tuple[list[Tensor], Tensor]:
    """Under autocast: features of one dtype, coordinates never in less than float32."""
    kind = features[0].device.type if features else "meta"
    if kind != "meta" and torch.is_autocast_enabled(kind):  # torch has no autocast to ask for on meta
        is_mixed = len({feature.dtype for feature in features}) > 1
        if is_mixed and all(feature.is_floating_point() for feature in features):
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
        sizes = (ctx.images, ctx.heights, ctx.widths, ctx.channels_last, torch.are_deterministic_algorithms_enabled())
        gradients = _spread(gradient.contiguous(), rois, (*sizes, *ctx.geometry))
        return gradients, None, *[None] * len(ctx.geometry)

    def _spread(gradient: Tensor, rois: Tensor, arguments: tuple[Any, ...]) -> list[Tensor]:
        """As ``_pooled``, backwards."""
        if not torch.compiler.is_compiling() and _is_transformed():
            return list(_TransformedSpread.apply(gradient, rois, arguments))  # type: ignore[no-untyped-call]
        gradients: list[Tensor] = torch.ops.spnas.roi_align_fpn_backward(gradient, rois, *arguments)
        return gradients

    # The operator's gradient without the operator's wrapping, which takes longer than small pyramids do.
    class _Pool(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, rois: Tensor, geometry: tuple[Any, ...], *levels: Tensor) -> Tensor:
            pooled: Tensor = torch.ops.spnas.roi_align_fpn(list(levels), rois, *geometry)
            _setup_context(ctx, (levels, rois, *geometry), pooled)
            return pooled

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
            return None, None, *_backward(ctx, gradients[0])[0]

    # What torch.func and forward mode take: apart from the one above, for its calls cost more.
    class _TransformedPool(torch.autograd.Function):
        @staticmethod
        def forward(rois: Tensor, geometry: tuple[Any, ...], *levels: Tensor) -> Tensor:
            pooled: Tensor = torch.ops.spnas.roi_align_fpn(list(levels), rois, *geometry)
            return pooled

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            rois, geometry, *levels = inputs
            _setup_context(ctx, (levels, rois, *geometry), output)
            ctx.save_for_forward(rois)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
            return None, None, *_backward(ctx, gradients[0])[0]

        @staticmethod
        def jvp(ctx: Any, _rois: Any, _geometry: Any, *tangents: Tensor) -> Tensor:
            (rois,) = ctx.saved_tensors
            return _pooled(rois, tuple(ctx.geometry), [_dense(tangent) for tangent in tangents])

        @staticmethod
        def vmap(
            info: Any, in_dims: Sequence[Any], rois: Tensor, geometry: tuple[Any, ...], *levels: Tensor
        ) -> tuple[Tensor, int]:
            return _vmap(info, (in_dims[2:], in_dims[0]), list(levels), rois, *geometry)

    class _TransformedSpread(torch.autograd.Function):
        @staticmethod
        def forward(gradient: Tensor, rois: Tensor, arguments: tuple[Any, ...]) -> tuple[Tensor, ...]:
            return tuple(torch.ops.spnas.roi_align_fpn_backward(gradient, rois, *arguments))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: tuple[Tensor, ...]) -> None:
            _, rois, ctx.arguments = inputs
            ctx.save_for_forward(rois)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
            return _refuse_double_backward(ctx, *gradients)

        @staticmethod
        def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, ...]:
            (rois,) = ctx.saved_tensors
            return tuple(_spread(tangent.contiguous(), rois, ctx.arguments))

        @staticmethod
        def vmap(
            info: Any, in_dims: Sequence[Any], gradient: Tensor, rois: Tensor, arguments: tuple[Any, ...]
        ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
            gradients, dims = _vmap_backward(info, in_dims, gradient, rois, *arguments)
            return tuple(gradients), tuple(dims)

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
        size, count = info.batch_size, images_of(rois, in_dims[1])
        feature_dims = in_dims[0] if in_dims[0] is not None else [None] * len(features)
        if all(dim is None for dim in feature_dims):  # so only RoIs are batched
            pooled = _pooled(rois.movedim(in_dims[1], 0).flatten(0, 1), geometry, features)
            return unfolded(pooled, size, count), 0
        images = images_of(features[0], feature_dims[0])
        levels = [_dense(folded(feature, dim, size)) for feature, dim in zip(features, feature_dims, strict=True)]
        pooled = _pooled(_rois_of_all(rois, in_dims[1], size, images), geometry, levels)
        return unfolded(pooled, size, count), 0

    def _vmap_backward(
        info: Any, in_dims: Sequence[Any], gradient: Tensor, rois: Tensor, images: int, *rest: object
    ) -> tuple[list[Tensor], list[int]]:
        size = info.batch_size
        folded_gradient = folded(gradient, in_dims[0], size).contiguous()
        gradients = _spread(folded_gradient, _rois_of_all(rois, in_dims[1], size, images), (images * size, *rest))
        return [unfolded(level, size, images) for level in gradients], [0] * len(gradients)

    def _refuse_double_backward(ctx: Any, *_: object) -> tuple[Any, ...]:
        raise RuntimeError("roi_align_fpn can be differentiated once only: its backward has no gradient of its own")

    torch.library.register_fake("spnas::roi_align_fpn", _fake)
    torch.library.register_fake("spnas::roi_align_fpn_backward", _fake_backward)
    torch.library.register_autograd("spnas::roi_align_fpn", _backward, setup_context=_setup_context)
    torch.library.register_autograd("spnas::roi_align_fpn_backward", _refuse_double_backward)
    register_vmap("roi_align_fpn", _vmap)
    register_vmap("roi_align_fpn_backward", _vmap_backward)
