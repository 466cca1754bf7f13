"""Weight copies one by one."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


@torch.no_grad()
def copy_weights_(
    destinations: Sequence[Tensor],
    sources: Sequence[Tensor],
    output_maps: Sequence[Tensor | None],
    input_maps: Sequence[Tensor | None],
    scales: Sequence[Tensor | None],
) -> None:
    """As ``spnas_kernels.copy_weights_``, with all arguments given."""
    for index, source in enumerate(sources):
        for kind, dim, mapping in (("output", 0, output_maps[index]), ("input", 1, input_maps[index])):
            if mapping is not None:
                _check_map(f"{kind} map {index}", mapping, source.shape[dim])
    _check_overlaps(destinations, sources)
    for destination, source, output_map, input_map, scale in zip(
        destinations, sources, output_maps, input_maps, scales, strict=True
    ):
        values = source
        if output_map is not None:
            values = values.index_select(0, output_map.to(source.device))
        if input_map is not None:
            values = values.index_select(1, input_map.to(source.device))
        if scale is not None:
            wide = torch.float64 if torch.float64 in {source.dtype, destination.dtype} else torch.float32
            factor = scale.to(device=source.device, dtype=wide)
            factor = factor.reshape(()) if factor.numel() == 1 else factor.reshape(1, -1, *[1] * (values.dim() - 2))
            values = values.to(wide) * factor
        destination.copy_(values.to(destination.dtype))


def _check_map(name: str, mapping: Tensor, limit: int) -> None:
    wrong = mapping[(mapping < 0) | (mapping >= limit)]
    if len(wrong):
        raise RuntimeError(f"{name} points to channel {wrong[0].item()} of a source that has {limit}")


def _check_overlaps(destinations: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Refuse what the native operator refuses."""
    used = [index for index, destination in enumerate(destinations) if destination.numel()]
    for index in used:
        if _overlaps_itself(destinations[index]):
            raise RuntimeError(f"destination {index} overlaps itself: give it memory of its own")
    written = sorted((*_extent(destinations[index]), index) for index in used)
    for (_, end, one), (begin, _, other) in pairwise(written):
        if end > begin:
            raise RuntimeError(f"destinations {one} and {other} overlap: each must have memory of its own")
    for index in used:
        begin, end = _extent(sources[index])
        before = bisect_left(written, (end,)) - 1  # the last destination that begins before the source ends
        if before >= 0 and written[before][1] > begin:
            raise RuntimeError(f"destination {written[before][2]} overlaps source {index}: sources must not be written")


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Addresses of the first element and behind the last one."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _overlaps_itself(tensor: Tensor) -> bool:
    """Say whether a dimension steps into what those with smaller steps span."""
    span = 1
    steps = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(step for step in steps if step[1] > 1):
        if stride < span:
            return True
        span += stride * (size - 1)
    return False
