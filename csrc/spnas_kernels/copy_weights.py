"""Many weight copies in one call, with channel maps and scales."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spnas_kernels._library import is_loaded, is_native
from spnas_kernels.references import copy_weights as reference


@torch.no_grad()
def copy_weights_(
    destinations: Sequence[Tensor],
    sources: Sequence[Tensor],
    output_maps: Sequence[Tensor | None] | None = None,
    input_maps: Sequence[Tensor | None] | None = None,
    scales: Sequence[Tensor | float | None] | None = None,
) -> None:
    """Write ``destination[o, i, …] = source[output_map[o], input_map[i], …] · scale[i]`` for many tensors at once.

    Values are converted to the destination's dtype; a scaled one is computed in float32 (float64 if either side is) and
    rounded once. Between equal layouts, copies without map, scale and conversion are copied as memory. On CUDA
    there is one launch for these and one for the others; for copies that happen again and again, make a ``CopyPlan``.

    Args:
        destinations: tensors of up to six dimensions on one device, written in place; no two of them overlap, and none
            overlaps a source, counting all the memory from a tensor's first element to its last.
        sources: as many tensors on the same device. Without maps the shapes agree.
        output_maps: per copy, Tensor[O] of int64 on the CPU: the source's index in dimension 0; None for the identity.
        input_maps: per copy, Tensor[I] of int64 on the CPU: the source's index in dimension 1; None for the identity.
        scales: per copy, a factor, or Tensor[I] of factors per input channel of the destination; None for none.

    Raises:
        ValueError: counts, devices or shapes differ, or a dtype can't be converted.
        RuntimeError: a map points outside its source, or memory overlaps; on CUDA, a graph is being captured.
    """
    arguments = checked_arguments(destinations, sources, output_maps, input_maps, scales)
    if not arguments[0]:
        return
    run = torch.ops.spnas.copy_weights_ if is_native(destinations[0]) else reference.copy_weights_
    run(*arguments)
    # Otherwise a backward that has saved a destination would go on with the new values.
    torch.autograd.graph.increment_version(destinations)


def checked_arguments(
    destinations: Sequence[Tensor],
    sources: Sequence[Tensor],
    output_maps: Sequence[Tensor | None] | None,
    input_maps: Sequence[Tensor | None] | None,
    scales: Sequence[Tensor | float | None] | None,
) -> tuple[list[Tensor], list[Tensor], list[Tensor | None], list[Tensor | None], list[Tensor | None]]:
    """Arguments of ``copy_weights_`` as the operators take them.

    Raises:
        ValueError: as there.
    """
    count = len(destinations)
    maps_out: Sequence[Tensor | None] = [None] * count if output_maps is None else list(output_maps)
    maps_in: Sequence[Tensor | None] = [None] * count if input_maps is None else list(input_maps)
    factors: Sequence[Tensor | float | None] = [None] * count if scales is None else list(scales)
    lists: dict[str, Sequence[object]] = {
        "sources": sources,
        "output_maps": maps_out,
        "input_maps": maps_in,
        "scales": factors,
    }
    for name, entries in lists.items():
        if len(entries) != count:
            raise ValueError(f"{count} destinations for {len(entries)} {name}: one each is needed")
    if not count:
        return [], [], [], [], []
    plain_scales = [None if factor is None else torch.as_tensor(factor, dtype=torch.float64) for factor in factors]
    _check(destinations, sources, maps_out, maps_in, plain_scales)
    return list(destinations), list(sources), list(maps_out), list(maps_in), plain_scales


def _check(
    destinations: Sequence[Tensor],
    sources: Sequence[Tensor],
    output_maps: Sequence[Tensor | None],
    input_maps: Sequence[Tensor | None],
    scales: Sequence[Tensor | None],
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

    torch.library.register_fake("spnas::copy_weights_", _fake)
