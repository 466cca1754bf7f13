"""How the channels of a tensor go into a child's, and what that makes of its weights.

Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016: a wider layer repeats channels, and what reads them divides its weights
among the copies. Here the shares are drawn anew for each output that reads, so that no two copies stay alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]

_LEAST_SHARE, _MOST_SHARE = 0.5, 1.5
"""Shares of copies are drawn between these, before they are brought to the sum of one."""


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """Which of the parent's channels each of the child's continues.

    Attributes:
        indices: int64[child channels], parent channels.
        count: of the parent's channels.
    """

    indices: Indices
    count: int

    @classmethod
    def identity(cls, count: int) -> "ChannelMap":
        """The map of channels that stay."""
        return cls(np.arange(count), count)

    def repeated(self, width: int) -> "ChannelMap":
        """Return the map of channels where this one is of groups of so many."""
        indices = self.indices[:, None] * width + np.arange(width)
        return ChannelMap(indices.ravel(), self.count * width)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return len(self.indices) == self.count and bool((self.indices == np.arange(self.count)).all())


@dataclass(frozen=True, eq=False)
class Route:
    """How a tensor's channels go into a child's tensor.

    Attributes:
        outputs: of the first dimension.
        inputs: of the second dimension, whose weights are shared out among copies; None where it stays as it is.
        groups: of the convolution; its channels stay within their groups.
        seed: of the shares.
    """

    outputs: ChannelMap
    inputs: ChannelMap | None = None
    groups: int = 1
    seed: tuple[int, ...] = (0,)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.outputs.is_identity and (self.inputs is None or self.inputs.is_identity)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape has the channels that the maps lead to: a file may hold another network."""
        if len(shape) == 0 or shape[0] != self.outputs.count:
            return False
        return self.inputs is None or (len(shape) > 1 and shape[1] == self.inputs.count // self.groups)

    def apply(self, tensor: Tensor) -> Tensor:
        """Return the child's tensor for a parent's Tensor[out] or Tensor[out, in of a group, …]."""
        rows = torch.from_numpy(self.outputs.indices).to(tensor.device)
        if self.inputs is None:
            return tensor[rows]
        local = self.inputs.indices.reshape(self.groups, -1) % (self.inputs.count // self.groups)
        columns = local[np.arange(len(rows)) * self.groups // len(rows)]  # [out of the child, in of a group]
        weights = tensor[rows[:, None], torch.from_numpy(columns).to(tensor.device)]
        shares = torch.from_numpy(self._shares(columns)).to(tensor)
        return weights * shares.reshape(*shares.shape, *[1] * (tensor.dim() - 2))

    def pass_through(self, like: Tensor) -> Tensor:
        """Return the 1×1 convolution that gives each output the channel of which it is the map; zero where none is.

        Both maps must lead to the same channels of the parent.
        """
        read = (self.inputs or self.outputs).indices
        columns = np.broadcast_to(read, (len(self.outputs.indices), len(read)))
        weights = self._shares(columns) * (columns == self.outputs.indices[:, None])
        return torch.from_numpy(weights).to(like).reshape(like.shape)

    def _shares(self, columns: Indices) -> NDArray[np.float64]:
        """Random positive shares that sum to one over the copies of a channel, for each output."""
        drawn = np.random.default_rng(self.seed).uniform(_LEAST_SHARE, _MOST_SHARE, columns.shape)
        sums = np.zeros((len(columns), int(columns.max(initial=0)) + 1))
        np.add.at(sums, (np.arange(len(columns))[:, None], columns), drawn)
        return drawn / np.take_along_axis(sums, columns, 1)
