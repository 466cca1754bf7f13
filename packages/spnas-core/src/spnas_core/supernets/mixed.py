"""A backbone that computes all parts of a start at once, and adds their features up."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from spnas_core.relaxation import Decisions, Odds
from spnas_core.relaxation.decisions import DOWN, STAY
from spnas_core.supernets.network import Supernet


class MixedBackbone(nn.Module):
    """Features by the odds that a drawn part computes them so.

    What a block gives in a stage is the mean over the ways that lead there; what a stage gives is the mean over the
    blocks that may end it. A block that may be left out gives ``keep · block(x) + skip · x``. At one-hot odds that is
    the part's own backbone; its tensors are those of the supernet, each block used with both strides.

    Args:
        supernet: has the weights.
        decisions: of its start, which mix.

    Attributes:
        odds: called in every forward pass, so that a gradient may flow through it more than once.
    """

    def __init__(self, supernet: Supernet, decisions: Decisions) -> None:
        super().__init__()
        self.architecture, self.feature_info = supernet.architecture, supernet.feature_info
        self.decisions = decisions
        self.odds: Callable[[], Odds]
        self.stem = supernet.stem
        self.first = supernet.path_block(0, 1)
        self.stays, self.downs = (
            nn.ModuleList(supernet.path_block(block.index, stride) for block in decisions.blocks[1:])
            for stride in (1, 2)
        )

    def forward(self, images: Tensor, added: Sequence[Tensor] = ()) -> "OrderedDict[str, Tensor]":
        """Compute the features of Tensor[N, 3, H, W]; see ``Backbone``. Nothing can be added."""
        del added
        odds, legal = self.odds(), self.decisions.legal
        here: dict[int, Tensor] = {0: self.first(self.stem(images))}
        given: dict[int, list[Tensor]] = {}
        for place, (stay, down) in enumerate(zip(self.stays, self.downs, strict=True)):
            following: dict[int, list[Tensor]] = {}
            for stage, x in here.items():
                if legal[place, stage, STAY]:
                    y = stay(x)
                    if self.decisions.is_optional[place + 1]:
                        y = odds.keep[place + 1, 0] * y + odds.keep[place + 1, 1] * x
                    following.setdefault(stage, []).append(odds.steps[place, stage, STAY] * y)
                if legal[place, stage, DOWN]:
                    given.setdefault(stage, []).append(odds.steps[place, stage, DOWN] * x)
                    following.setdefault(stage + 1, []).append(odds.steps[place, stage, DOWN] * down(x))
            here = {
                stage: torch.stack(terms).sum(0) / odds.nodes[place + 1, stage].clamp_min(_LEAST)
                for stage, terms in following.items()
            }
        given[self.decisions.stages - 1] = [here[self.decisions.stages - 1]]
        outputs = {f"s{stage + 1}": torch.stack(terms).sum(0) for stage, terms in given.items()}
        return OrderedDict((name, outputs[name]) for name in self.feature_info.names())


_LEAST = 1e-12
"""Odds below which a node counts as never reached: what it gives is then taken with weight zero."""
