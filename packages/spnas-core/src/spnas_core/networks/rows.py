"""What stands beside the main path: fusions, and rows that use the main path's weights."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from spnas_core.blocks import ConvLayer
from spnas_core.blocks.layers import Convolution, Norm


class Fusion(nn.Module):
    """A 1×1 convolution with batch norm, and upsampling to the nearest neighbour: the end of a row to an input.

    Args:
        layer: the convolution.
    """

    def __init__(self, layer: ConvLayer) -> None:
        super().__init__()
        self.conv = Convolution(layer.in_channels, layer.out_channels, 1, bias=False)
        self.bn = Norm(layer.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C_out, h, w] to Tensor[N, C_in, h, w]."""
        fused: Tensor = self.bn(self.conv(x))
        return fused


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Upsample Tensor[N, C, h, w] to the size of another one, each pixel to its nearest neighbour."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else functional.interpolate(x, size=size, mode="nearest")


class Statistics(nn.Module):
    """The running statistics of a module that is used in several places: one set for each place, under equal names.

    ``run`` computes the module with these in place of its own, so all its weights are shared and stored once.

    Args:
        module: whose buffers are copied; on the meta device.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for name, buffer in module.named_buffers():
            *path, leaf = name.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in dict(owner.named_children()):
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_buffer(leaf, buffer.detach())

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        """Compute the module on x. What it has no buffer for any more (its norms were replaced) is left out."""
        known = dict(module.named_buffers())
        own = {name: buffer for name, buffer in self.named_buffers() if name in known}
        output: Tensor = functional_call(module, own, (x,)) if own else module(x)
        return output
