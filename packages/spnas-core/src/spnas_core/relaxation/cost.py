"""The multiply-adds that a drawn part is expected to take, as a differentiable function of the decisions."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.blocks import block_spec, described_layers
from spnas_core.cost import chain_multiply_adds
from spnas_core.relaxation.decisions import DOWN, STAY, Decisions
from spnas_core.relaxation.mixtures import Odds
from spnas_core.stems import stem_spec


class ExpectedCost:
    """Expected multiply-adds of a backbone for one image.

    The sum of what each block takes at each resolution, times the probability that it computes there. At one-hot
    decisions it is that of the code.

    Args:
        decisions: about the parts of a start.
        width: of the image in pixels.
        height: likewise.
    """

    def __init__(self, decisions: Decisions, width: int, height: int) -> None:
        self._decisions = decisions
        self._size = width, height

    def __call__(self, odds: Odds) -> Tensor:
        """Return a scalar Tensor."""
        fixed, tables = self._tables
        stays, downs = (torch.tensor(table, dtype=odds.keep.dtype, device=odds.keep.device) for table in tables)
        kept = odds.keep[1:, :1]
        return fixed + (odds.steps[..., STAY] * kept * stays).sum() + (odds.steps[..., DOWN] * downs).sum()

    @cached_property
    def _tables(self) -> tuple[float, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """What is always computed; and what staying and going down take, for each further block and stage before it."""
        decisions = self._decisions
        start = decisions.start
        stem, spec = stem_spec(start.stem), block_spec(start.block)
        fixed, size = chain_multiply_adds(described_layers(stem, start.base), *self._size)
        if stem.pools:
            size = (size[0] - 1) // 2 + 1, (size[1] - 1) // 2 + 1
        fixed += chain_multiply_adds(decisions.blocks[0].layers, *size)[0]
        stays, downs = np.zeros((2, len(decisions.blocks) - 1, decisions.stages))
        for stage in range(decisions.stages):
            halved = size
            for place, block in enumerate(decisions.blocks[1:]):
                sizes = block.in_channels, block.planes
                stays[place, stage] = chain_multiply_adds(described_layers(spec, *sizes, 1), *size)[0]
                downs[place, stage], halved = chain_multiply_adds(described_layers(spec, *sizes, 2), *size)
            size = halved
        return float(fixed), (stays, downs)
