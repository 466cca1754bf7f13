"""Cost of what has no list of layers: counted on the meta device, while it runs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from spnas_core.backbones.building import blank_network
from spnas_core.backbones.network import Composition, FixedNetwork


class _Activations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the elements of all convolution outputs."""

    elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.convolution and isinstance(out, Tensor):
            self.elements += out.numel()
        return out


def counted(network: FixedNetwork | Composition, width: int, height: int) -> tuple[int, int, int]:
    """Count a network for one image of ``width`` × ``height`` pixels, padding included.

    Returns:
        Parameters; multiply-adds of convolutions and matrix products; elements of all convolution outputs.
    """
    module = blank_network(network).eval()
    images = torch.empty(1, 3, height, width, device="meta")
    flops = FlopCounterMode(display=False)
    with torch.no_grad(), flops, _Activations() as activations:  # type: ignore[no-untyped-call]
        module(images)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return parameters, flops.get_total_flops() // 2, activations.elements
