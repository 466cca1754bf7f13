"""Networks, images and counts that several tests of the core look at."""

import torch
from torch import nn

from spnas_core import Architecture, Backbone, build_backbone


@torch.no_grad()
def trained_looking(architecture: Architecture, seed: int) -> Backbone:
    """A backbone whose norm layers are as uneven as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    backbone = build_backbone(architecture, generator=generator)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.3, 1.2, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.normal_(0, 0.2, generator=generator)
    for name, buffer in backbone.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return backbone.eval()


def images(seed: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def convolution_outputs(backbone: nn.Module, width: int, height: int) -> tuple[list[int], list[int]]:
    """Elements of the output, and multiply-adds, of every convolution that runs, in order."""
    outputs: list[int] = []
    multiply_adds: list[int] = []

    def count(module: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        outputs.append(output.numel())
        multiply_adds.append(output.numel() * module.weight[0].numel())

    hooks = [m.register_forward_hook(count) for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    backbone.eval()(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return outputs, multiply_adds
