"""Many weight copies in one call, with channel maps and scales."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from spnas_kernels._batching import refuse_vmap
from spnas_kernels._checks import dense, dense_list, listed
from spnas_kernels._library import check_devices, is_loaded, is_native
from spnas_kernels.references import copy_weights as reference


@torch.no_grad()
def copy_weights_(
    destinations: Iterable[Tensor],
    sources: Iterable[Tensor],
    output_maps: Iterable[Tensor | None] | None = None,
    input_maps: Iterable[Tensor | None] | None = None,
    scales: Iterable[Tensor | float | None] | None = None,
) -> None:
    """Write ``destination[o, i, …] = source[output_map[o], input_map[i], …] · scale[i]`` for many tensors at once.

    Values are converted to the destination's dtype; a scaled one is computed in float32 (float64 if either side is) and
    then rounded: once, but from float64 to float16 or bfloat16 by way of float32, as torch does it, and so twice.
    Between equal layouts, copies without map, scale and conversion are copied as memory. On CUDA there is one launch
    for these and one for the others; for copies that happen again and again, make a ``CopyPlan``.

    Args:
        destinations: tensors of up to six dimensions on one device, written in place; no two of them overlap, and none
            overlaps a source, counting all the memory from a tensor's first element to its last.
        sources: as many tensors on the same device. Without maps the shapes agree.
        output_maps: per copy, Tensor[O] of int64 on the CPU: the source's index in dimension 0; None for the identity.
        input_maps: per copy, Tensor[I] of int64 on the CPU: the source's index in dimension 1; None for the identity.
        scales: per copy, a factor, or Tensor[I] on the CPU, one per input channel of the destination; None for none.

    Raises:
        ValueError: counts, devices or shapes differ, a dtype can't be converted, or an argument is of the wrong kind.
        RuntimeError: a map points outside its source, or memory overlaps; on CUDA, a graph is being captured.
    """
    arguments = checked_arguments(destinations, sources, output_maps, input_maps, scales)
    written = arguments[0]
    if not written:
        return
    run = torch.ops.spnas.copy_weights_ if is_native(written[0]) else reference.copy_weights_
    run(*arguments)
    # Otherwise a backward that has saved a destination would go on with the new values.
    torch.autograd.graph.increment_version(written)


def checked_arguments(
    destinations: Iterable[Tensor],
    sources: Iterable[Tensor],
    output_maps: Iterable[Tensor | None] | None,
    input_maps: Iterable[Tensor | None] | None,
    scales: Iterable[Tensor | float | None] | None,
) -> tuple[list[Tensor], list[Tensor], list[Tensor | None], list[Tensor | None], list[Tensor | None]]:
    """Arguments of ``copy_weights_`` as the operators take them.

    Raises:
        ValueError: as there.
    """
    written, read = dense_list("destinations", destinations), dense_list("sources", sources)
    count = len(written)
    maps_out: list[Tensor | None] = [None] * count if output_maps is None else listed("output_maps", output_maps)
    maps_in: list[Tensor | None] = [None] * count if input_maps is None else listed("input_maps", input_maps)
    factors: list[Any] = [None] * count if scales is None else listed("scales", scales)
    lists: dict[str, list[Any]] = {"sources": read, "output_maps": maps_out, "input_maps": maps_in, "scales": factors}
    for name, entries in lists.items():
        if len(entries) != count:
            raise ValueError(f"{count} destinations for {len(entries)} {name}: one each is needed")
    if not count:
        return [], [], [], [], []
    plain_scales = [_plain_scale(index, factor) for index, factor in enumerate(factors)]
    _check(written, read, maps_out, maps_in, plain_scales)
    return written, read, maps_out, maps_in, plain_scales


def _plain_scale(index: int, factor: Any) -> Tensor | None:
    if factor is None:
        return None
    try:
        return torch.as_tensor(factor, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"scale {index} is {factor!r}: scales are numbers or tensors on the CPU") from error


def _check(
    destinations: list[Tensor],
    sources: list[Tensor],
    output_maps: list[Tensor | None],
    input_maps: list[Tensor | None],
    scales: list[Tensor | None],
) -> None:
    device = destinations[0].device
    rows = zip(destinations, sources, output_maps, input_maps, scales, strict=True)
    for index, (destination, source, output_map, input_map, scale) in enumerate(rows):
        if destination.device != device or source.device != device:
            raise ValueError(
                f"copy {index} goes from {source.device} to {destination.device}, copy 0 to {device}: "
                "all tensors must be on one device"
            )
        if output_map is None and input_map is None:
            if destination.shape != source.shape:
                raise ValueError(
                    f"destination {index} has shape {tuple(destination.shape)}, its source {tuple(source.shape)}: "
                    "they must agree"
                )
        else:
            _check_maps(index, destination, source, output_map, input_map)
        converts = scale is not None or destination.dtype != source.dtype
        if converts and not (destination.dtype in _FLOATS and source.dtype in _FLOATS):
            raise ValueError(
                f"copy {index} goes from {source.dtype} to {destination.dtype}"
                f"{'' if scale is None else ' with a scale'}: "
                "only float64, float32, float16 and bfloat16 are converted and scaled"
            )
        if scale is not None and scale.device.type != "cpu":
            raise ValueError(f"scale {index} is on {scale.device}: scales are numbers or tensors on the CPU")
        if scale is not None and scale.numel() != 1:
            inputs = destination.shape[1] if destination.dim() > 1 else 1
            if scale.shape != (inputs,):
                raise ValueError(
                    f"scale {index} has shape {tuple(scale.shape)}: one factor, or one for each of {inputs} input "
                    "channels"
                )


def _check_maps(
    index: int, destination: Tensor, source: Tensor, output_map: Tensor | None, input_map: Tensor | None
) -> None:
    if destination.dim() != source.dim():
        raise ValueError(f"destination {index} has {destination.dim()} dimensions, its source {source.dim()}")
    expected = list(source.shape)
    for dim, (name, mapping) in enumerate([("output", output_map), ("input", input_map)]):
        if mapping is None:
            continue
        dense(f"{name} map {index}", mapping)
        if mapping.dtype != torch.int64 or mapping.dim() != 1 or mapping.device.type != "cpu":
            raise ValueError(
                f"{name} map {index} is a {mapping.dim()}-dimensional {mapping.dtype} tensor on {mapping.device}: "
                "maps are one-dimensional int64 tensors on the CPU"
            )
        if destination.dim() <= dim:
            raise ValueError(f"{name} map {index} needs a destination of {dim + 1} dimensions, not {destination.dim()}")
        expected[dim] = len(mapping)
    if list(destination.shape) != expected:
        raise ValueError(
            f"destination {index} has shape {tuple(destination.shape)}; its source {tuple(source.shape)} with these "
            f"maps gives {tuple(expected)}"
        )


_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


if is_loaded():

    def _fake(
        destinations: list[Tensor],
        sources: list[Tensor],
        output_maps: list[Tensor | None],
        input_maps: list[Tensor | None],
        scales: list[Tensor | None],
    ) -> None:
        """Nothing new comes out."""
        if destinations:
            others = {f"destination {index}": tensor for index, tensor in enumerate(destinations)}
            others |= {f"source {index}": tensor for index, tensor in enumerate(sources)}
            check_devices("destination 0", destinations[0], **others)

    torch.library.register_fake("spnas::copy_weights_", _fake)
    refuse_vmap("copy_weights_", "it writes into tensors. Copy stacked tensors with one map, or outside")
