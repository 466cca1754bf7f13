"""Convolution and batch norm that leave their first values to an inheritance plan.

torch's own constructors write first values at once, which for a child that inherits is work done in order to be
overwritten (and on the meta device slow work done for nothing). Whatever builds these layers must fill them.
"""

from torch import Tensor, nn
from torch.nn import functional

NARROW = 16
"""oneDNN's block of channels on processors with AVX-512."""


class Convolution(nn.Conv2d):
    """``nn.Conv2d`` whose weight and bias are not initialised."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Convolve; a strided 1x1 convolution of few channels picks its pixels first, which is the same.

        oneDNN's weight gradient of such a convolution writes past its workspace where features are channels-last:
        https://github.com/uxlfoundation/oneDNN/issues/6035.
        """
        is_strided_point = self.kernel_size == (1, 1) and self.stride != (1, 1) and self.padding == (0, 0)
        if is_strided_point and self.in_channels < NARROW:
            rows, columns = self.stride
            return functional.conv2d(input[..., ::rows, ::columns], self.weight, self.bias, groups=self.groups)
        return super().forward(input)

    def reset_parameters(self) -> None:
        """Leave weight and bias as they were allocated."""


class Norm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose parameters and running statistics are not initialised."""

    def reset_parameters(self) -> None:
        """Leave parameters and statistics as they were allocated."""
