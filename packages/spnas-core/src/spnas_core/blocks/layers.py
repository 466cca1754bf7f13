"""Convolution and batch norm that leave their first values to an inheritance plan.

torch's own constructors write first values at once, which for a child that inherits is work done in order to be
overwritten (and on the meta device slow work done for nothing). Whatever builds these layers must fill them.
"""

from torch import nn


class Convolution(nn.Conv2d):
    """``nn.Conv2d`` without a bias whose weight is not initialised."""

    def reset_parameters(self) -> None:
        """Leave the weight as it was allocated."""


class Norm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose parameters and running statistics are not initialised."""

    def reset_parameters(self) -> None:
        """Leave parameters and statistics as they were allocated."""
