"""Copying all tensors of ResNet-50 against memory copies and index_select, in pairs."""

import torch
import torchvision
from torch import Tensor

from pairs import Row, compare
from spnas_kernels import CopyPlan, copy_weights_


def rows(device: str = "cpu") -> list[Row]:
    """Measure plain copies, and copies with random output- and input-channel maps."""
    generator = torch.Generator().manual_seed(0)
    sources = [tensor.detach().to(device) for tensor in torchvision.models.resnet50().state_dict().values()]
    destinations = [torch.empty_like(source) for source in sources]
    traffic = 2 * sum(source.numel() * source.element_size() for source in sources)
    flat = torch.ones(traffic // 8, device=device)
    flat_copy = torch.empty_like(flat)

    def channel_map(source: Tensor, dim: int) -> Tensor | None:
        size = source.shape[dim] if source.dim() == 4 else 0
        return torch.randint(size, (size,), generator=generator) if size else None

    output_maps = [channel_map(source, 0) for source in sources]
    input_maps = [channel_map(source, 1) for source in sources]

    near_maps = [
        [None if channels is None else channels.to(device) for channels in maps] for maps in (output_maps, input_maps)
    ]

    def select() -> None:
        for destination, source, output_map, input_map in zip(destinations, sources, *near_maps, strict=True):
            if output_map is None or input_map is None:
                destination.copy_(source)
            else:
                destination.copy_(source.index_select(0, output_map).index_select(1, input_map))

    plan, mapped_plan = (CopyPlan(destinations, sources, *maps) for maps in ((None, None), (output_maps, input_maps)))
    return [
        compare(
            "weights of ResNet-50 by a prepared plan, against one copy of as many bytes",
            plan.run,
            lambda: flat_copy.copy_(flat),
            traffic,
            device=device,
        ),
        compare(
            "weights of ResNet-50 through channel maps by a prepared plan, against `index_select`",
            mapped_plan.run,
            select,
            traffic,
            device=device,
        ),
        compare(
            "weights of ResNet-50, against one copy of as many bytes",
            lambda: copy_weights_(destinations, sources),
            lambda: flat_copy.copy_(flat),
            traffic,
            device=device,
        ),
        compare(
            "weights of ResNet-50 through channel maps, against `index_select`",
            lambda: copy_weights_(destinations, sources, output_maps, input_maps),
            select,
            traffic,
            device=device,
        ),
    ]
