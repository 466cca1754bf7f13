"""Weights of mixtures: probabilities, their samples by Gumbel noise, and binary gates.

Liu et al., "DARTS", ICLR 2019; Xie et al., "SNAS", ICLR 2019; Cai et al., "ProxylessNAS", ICLR 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.relaxation.decisions import DOWN, STAY, Choice, Decisions

_NEVER = -1e30
"""A logit that leaves no probability; not minus infinity, whose gradient would be no number."""


@dataclass(frozen=True)
class Logits:
    """The parameters of all decisions, before any is normalised.

    Attributes:
        keep: Tensor[blocks, 2] of keeping a block and of leaving it out.
        move: Tensor[blocks - 1, stages, 2] of staying in a stage and of going down, behind each block.
    """

    keep: Tensor
    move: Tensor

    @classmethod
    def drawn(cls, decisions: Decisions, rng: np.random.Generator, scale: float = 1e-3) -> "Logits":
        """Draw first values: normal, of a small standard deviation, so that every decision is about even."""
        blocks, stages = len(decisions.blocks), decisions.stages
        keep = rng.normal(0, scale, (blocks, 2))
        move = rng.normal(0, scale, (blocks - 1, stages, 2))
        return cls(*(torch.tensor(values, dtype=torch.float32, requires_grad=True) for values in (keep, move)))

    @classmethod
    def from_plain(cls, values: Any) -> "Logits":
        """Read what ``plain`` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            keep, move = (torch.tensor(values[name], dtype=torch.float64) for name in ("keep", "move"))
        except (TypeError, KeyError) as error:
            raise ValueError(f"logits have 'keep' and 'move': {error}") from None
        if keep.shape == (1, 2) and not move.numel():  # a lone block moves nowhere, and empty lists have no dimensions
            move = move.reshape(0, 1, 2)
        if keep.ndim != 2 or move.ndim != 3 or not (keep.isfinite().all() and move.isfinite().all()):
            raise ValueError("logits are finite numbers, 'keep' of two dimensions and 'move' of three")
        return cls(keep, move)

    def plain(self) -> dict[str, Any]:
        """Return lists of numbers, as an archive stores them."""
        return {"keep": self.keep.detach().cpu().tolist(), "move": self.move.detach().cpu().tolist()}

    def tensors(self) -> list[Tensor]:
        """Both."""
        return [self.keep, self.move]


@dataclass(frozen=True)
class Odds:
    """Normalised weights of all decisions, and how likely each step is on the way from the first block.

    Attributes:
        keep: Tensor[blocks, 2]; a block that is not optional is kept.
        move: Tensor[blocks - 1, stages, 2]; zero where a step is not legal.
        steps: Tensor[blocks - 1, stages, 2], the probability that a way takes the step.
        nodes: Tensor[blocks, stages], the probability that a block computes in a stage.
    """

    keep: Tensor
    move: Tensor
    steps: Tensor
    nodes: Tensor


def probabilities(decisions: Decisions, logits: Logits) -> Odds:
    """Return softmax of the logits of each decision: the mixture of DARTS."""
    keep, move = _masked(decisions, logits)
    return odds_of(keep.softmax(-1), move.softmax(-1) * _legal(decisions, move))


def gumbel_odds(decisions: Decisions, logits: Logits, temperature: float, generator: torch.Generator) -> Odds:
    """Return softmax((log p + G) / T) with Gumbel noise G, for each decision: the sample of SNAS.

    The arg-max is distributed as p whatever the temperature, and the weights become one-hot as it goes to zero.
    """
    keep, move = (gumbel_weights(masked, temperature, generator) for masked in _masked(decisions, logits))
    optional = torch.tensor(decisions.is_optional, device=keep.device)
    kept = torch.tensor([1.0, 0.0], dtype=keep.dtype, device=keep.device)
    return odds_of(torch.where(optional[:, None], keep, kept), move * _legal(decisions, move))


def gumbel_weights(logits: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """Return softmax((log p + G) / T) over the last dimension, p being softmax of the logits."""
    noise = -torch.empty_like(logits).exponential_(generator=generator).clamp_min(1e-20).log()
    return ((logits.log_softmax(-1) + noise) / temperature).softmax(-1)


def anneal(step: int, steps: int, first: float = 1.0, last: float = 0.03) -> float:
    """Return the temperature of a step: linear from the first value to the last one."""
    return first + (last - first) * step / max(1, steps - 1)


def odds_of(keep: Tensor, move: Tensor) -> Odds:
    """Follow normalised decisions from the first block in the first stage: the forward pass of a Markov chain."""
    first = torch.zeros(move.shape[1], dtype=move.dtype, device=move.device)
    first[0] = 1
    nodes, steps = [first], []
    for place in range(len(move)):
        taken = nodes[-1][:, None] * move[place]
        steps.append(taken)
        nodes.append(taken[:, STAY] + torch.cat([taken.new_zeros(1), taken[:-1, DOWN]]))
    joined = torch.stack(steps) if steps else move
    return Odds(keep, move, joined, torch.stack(nodes))


def log_odds(odds: Odds, choice: Choice, decisions: Decisions) -> Tensor:
    """Return the logarithm of the probability of a choice: a sum over its decisions."""
    begins, stage = set(choice.begins), 0
    terms = []
    for place in range(1, len(decisions.blocks)):
        goes_down = place in begins
        terms.append(odds.move[place - 1, stage, DOWN if goes_down else STAY])
        stage += goes_down
        if decisions.is_optional[place] and not goes_down:
            terms.append(odds.keep[place, 0 if choice.kept[place] else 1])
    return torch.stack(terms).clamp_min(1e-30).log().sum() if terms else odds.keep.new_zeros(())


def draw_choice(odds: Odds, decisions: Decisions, rng: np.random.Generator) -> Choice:
    """Draw a choice."""
    return _decided(odds, decisions, lambda chance: bool(rng.random() < chance))


def draw_other(odds: Odds, decisions: Decisions, choice: Choice, rng: np.random.Generator) -> Choice | None:
    """Draw a choice that is not the given one, by their chances, rescaled to a sum of one.

    The first decision that differs is drawn by how likely it is the first; those before it are as given, those behind
    it are drawn freely. Cai et al., "ProxylessNAS", section 3.2.1: of two sampled paths.

    Returns:
        None where the given choice is the only one of any chance.
    """
    given, chances = _answers(odds, decisions, choice)
    differs = np.where(given, 1 - chances, chances)
    first = differs * np.cumprod([1.0, *(1 - differs)])[:-1]
    if not first.sum() > 0:
        return None
    place = int(rng.choice(len(first), p=first / first.sum()))
    forced = iter([*given[:place], not given[place]])

    def decide(chance: float) -> bool:
        told = next(forced, None)
        return bool(rng.random() < chance) if told is None else bool(told)

    return _decided(odds, decisions, decide)


def _answers(odds: Odds, decisions: Decisions, choice: Choice) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return how a choice answers the questions of ``_decided``, and the chances of a yes."""
    begins, answers, chances = set(choice.begins), list[bool](), list[float]()
    for place in range(1, len(decisions.blocks)):
        answers.append(place in begins)
        if decisions.is_optional[place] and place not in begins:
            answers.append(choice.kept[place])
    told = iter(answers)

    def decide(chance: float) -> bool:
        chances.append(float(chance))
        return next(told)

    _decided(odds, decisions, decide)
    return np.array(answers, bool), np.array(chances)


def _decided(odds: Odds, decisions: Decisions, decide: Callable[[float], bool]) -> Choice:
    """Make a choice by questions: whether a stage begins, and else whether an optional block stays.

    Args:
        odds: of the answers.
        decisions: that are asked for.
        decide: answers, from the chance of a yes.
    """
    keep, move = odds.keep.detach().cpu().numpy(), odds.move.detach().cpu().numpy()
    kept, begins, stage = [True], [], 0
    for place in range(1, len(decisions.blocks)):
        goes_down = decide(move[place - 1, stage, DOWN] / move[place - 1, stage].sum())
        if goes_down:
            begins.append(place)
            stage += 1
        kept.append(goes_down or not decisions.is_optional[place] or decide(keep[place, 0]))
    return Choice(tuple(kept), tuple(begins))


def binary_gates(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one of several paths by softmax of the logits: a one-hot gate for each, with a gradient.

    ``∂L/∂α_i = Σ_j ∂L/∂g_j · p_j · (δ_ij − p_i)``: as if the gates were the probabilities (ProxylessNAS, eq. 4).

    Args:
        logits: Tensor[paths].
        generator: source of chance; the default one where it is None.
    """
    gates: Tensor = _BinaryGates.apply(logits, generator)  # type: ignore[no-untyped-call]
    return gates


class _BinaryGates(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        chances = logits.softmax(-1)
        context.save_for_backward(chances)
        drawn = torch.multinomial(chances, 1, generator=generator)
        return torch.zeros_like(logits).scatter_(-1, drawn, 1.0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("binary gates cannot be differentiated twice: what was saved is taken for constant")
        (chances,) = context.saved_tensors
        weighted = gradient * chances
        return weighted - chances * weighted.sum(-1, keepdim=True), None


def _masked(decisions: Decisions, logits: Logits) -> tuple[Tensor, Tensor]:
    """Logits of which nothing illegal has a probability: blocks that must stay do, and steps lead to the end."""
    optional = torch.tensor(decisions.is_optional, device=logits.keep.device)
    kept = torch.tensor([0.0, _NEVER], dtype=logits.keep.dtype, device=logits.keep.device)
    keep = torch.where(optional[:, None], logits.keep, kept)
    legal = torch.tensor(decisions.legal, device=logits.move.device)
    return keep, torch.where(legal, logits.move, torch.full_like(logits.move, _NEVER))


def _legal(decisions: Decisions, like: Tensor) -> Tensor:
    return torch.tensor(decisions.legal, dtype=like.dtype, device=like.device)
