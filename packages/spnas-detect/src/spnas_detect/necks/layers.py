"""Layers that necks share."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from spnas_core.inheritance import XAVIER_UNIFORM, ZEROS, Init


class NormedConvolution(nn.Module):
    """A convolution that keeps the size, without a bias, and batch norm.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: odd side length.
        eps: of the batch norm, added to the variance.
        momentum: of the batch norm, the weight of a batch in the running statistics.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, in, H, W] to Tensor[N, out, H, W]."""
        normed: Tensor = self.norm(self.conv(x))
        return normed


def normed_initial(name: str) -> Init:
    """First values of a neck of convolutions with batch norms: every output starts with its input's variance.

    Convolutions start with variance 1 / fan in, norms with γ = 1, β = 0 and unit statistics.
    """
    if name.endswith(("norm.weight", "running_var")):
        return Init("ones")
    return XAVIER_UNIFORM if name.endswith(".weight") else ZEROS


def fitted(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize Tensor[N, C, H, W] to (height, width) by nearest neighbours; what has the size passes as it is."""
    return x if x.shape[-2:] == size else functional.interpolate(x, size=size, mode="nearest")
