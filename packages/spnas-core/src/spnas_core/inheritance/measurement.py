"""How much a child's outputs differ from its parent's before any training."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from spnas_core.inheritance.channels import ChannelMaps

Features = Callable[[Tensor], Mapping[str, Tensor]]


@torch.no_grad()
def output_change(
    parent: Features, child: Features, images: Tensor, maps: ChannelMaps | None = None
) -> dict[str, float]:
    """Measure ‖child − parent‖ / ‖parent‖ per feature level, in whole float32.

    With TF32, of which a product keeps ten bits, outputs would change by more than any promise as soon as a layer is
    computed in another shape.

    Args:
        parent: the parent backbone, in evaluation mode.
        child: the child backbone, in evaluation mode.
        images: Tensor[N, 3, H, W] on the backbones' device.
        maps: of the channels; a level whose channels differ is compared through its map.

    Returns:
        One number per level that both have in the same size, and whose channels are equally many or have a map.
    """
    with _whole_float32():
        before, after = parent(images), child(images)
    found: dict[str, float] = {}
    for place, (level, features) in enumerate(before.items()):
        if level in after and after[level].shape[-2:] == features.shape[-2:]:
            stage = int(level[1:]) - 1 if level[1:].isdigit() else place  # of s1, s2, …, of which some may be left out
            expected = _expected(stage, features, after[level].shape[1], maps)
            if expected is not None:
                found[level] = float((after[level] - expected).norm() / expected.norm().clamp_min(1e-12))
    return found


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Let no GPU shorten the factors of products."""
    cudnn = torch.backends.cudnn
    convolutions, products = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def _expected(level: int, features: Tensor, channels: int, maps: ChannelMaps | None) -> Tensor | None:
    """The parent's features in the child's channels."""
    if features.shape[1] == channels:
        return features
    route = None if maps is None else maps.stage_output(level, level)
    return None if route is None else features[:, torch.from_numpy(route.indices).to(features.device)]
