"""The moving average of a detector's weights, which is often better than the weights themselves.

Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging".
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

WARMUP = 10


class AveragedWeights:
    """An exponential moving average of parameters and running statistics.

    After n updates the next one keeps min(decay, (1 + n) / (10 + n)) of the average, so that a short training forgets
    its first weights too. What is no floating-point number, such as a counter, is taken as it stands.

    Args:
        module: whose weights are averaged.
        decay: share of the average that an update keeps, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = module.state_dict(keep_vars=False)
        self._averages = {name: tensor.clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's present weights."""
        keep = min(self.decay, (1 + self.updates) / (WARMUP + self.updates))
        self.updates += 1
        averaged = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self._averages[name] for name in averaged], [self._live[name] for name in averaged], 1 - keep
        )
        for name in self._live.keys() - set(averaged):
            self._averages[name].copy_(self._live[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages by name; they change with the next update."""
        return dict(self._averages)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Continue from stored averages of the same names and shapes."""
        for name, tensor in self._averages.items():
            tensor.copy_(tensors[name])
        self.updates = updates

    @torch.no_grad()
    def apply(self) -> None:
        """Give the module the averaged weights for good."""
        for name, average in self._averages.items():
            self._live[name].copy_(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module the averaged weights for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._averages.items():
            live = self._live[name]
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)
