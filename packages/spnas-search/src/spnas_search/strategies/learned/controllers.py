"""Policies with weights: a recurrent network that writes codes, and a log-linear model that chooses rewrites."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spnas_core.errors import ConfigError
from spnas_search.strategies.learned.edits import EditChoice, Options
from spnas_search.strategies.learned.generation import BORDER, END, TOKENS, Choice, Chooser, Masks, Stages

FIRST_WEIGHTS = 0.1
"""First weights of the recurrent network lie between this and its negative, uniformly; Zoph & Le, ICLR 2017."""
_Episode_contra = TypeVar("_Episode_contra", contravariant=True)


class Controller(Protocol[_Episode_contra]):
    """A policy that gradients can change. An episode is the choices that made one child."""

    def parameters(self) -> Sequence[Tensor]:
        """All weights, float64."""

    def judge(self, episodes: Sequence[_Episode_contra]) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of episodes, and the entropies of their choices, added up.

        Args:
            episodes: n of them.

        Returns:
            Two Tensor[n].
        """


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, so that no bit depends on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class WritingNetwork:
    """An LSTM that reads the tokens so far and gives the odds of the next one; masked tokens have none.

    Args:
        units: of its one layer.
        seed: of the first weights.
    """

    def __init__(self, units: int, seed: int) -> None:
        self._lstm = nn.LSTM(len(TOKENS), units, batch_first=True, dtype=torch.float64)
        self._head = nn.Linear(units, len(TOKENS), dtype=torch.float64)
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(torch.from_numpy(rng.uniform(-FIRST_WEIGHTS, FIRST_WEIGHTS, tuple(weights.shape))))

    def parameters(self) -> list[Tensor]:
        """All weights, float64."""
        return [*self._lstm.parameters(), *self._head.parameters()]

    def judge(self, episodes: Sequence[tuple[Choice, ...]]) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies of codes; see ``Controller``."""
        longest = max(map(len, episodes))
        inputs = torch.zeros(len(episodes), longest, len(TOKENS), dtype=torch.float64)
        legal = torch.zeros(len(episodes), longest, len(TOKENS), dtype=torch.bool)
        legal[..., END] = True  # behind the end nothing is left to choose
        chosen = torch.full((len(episodes), longest), END)
        for number, episode in enumerate(episodes):
            tokens = torch.tensor([choice.token for choice in episode])
            chosen[number, : len(episode)] = tokens
            legal[number, : len(episode)] = torch.tensor([choice.legal for choice in episode])
            inputs[number, torch.arange(1, len(episode)), tokens[:-1]] = 1
        logs = _masked(self._head(self._lstm(inputs)[0]), legal)  # [n, longest, tokens]
        taken = logs.gather(-1, chosen[..., None]).squeeze(-1)
        return taken.sum(1), _entropy(logs).sum(1)

    def chooser(self, rng: np.random.Generator) -> Chooser:
        """Return what writes several codes beside one another, from their beginning on.

        Args:
            rng: the only source of chance.
        """
        memory: tuple[Tensor, Tensor] | None = None

        @torch.no_grad()
        def choose(codes: Sequence[Stages], masks: Masks) -> list[int]:
            nonlocal memory
            inputs = torch.zeros(len(codes), 1, len(TOKENS), dtype=torch.float64)
            for number, stages in enumerate(codes):
                if (last := _last_token(stages)) is not None:
                    inputs[number, 0, last] = 1
            output, memory = self._lstm(inputs, memory)
            odds = _masked(self._head(output[:, 0]), torch.from_numpy(masks)).exp().numpy()
            return draw_each(odds, rng)

        return choose


class LogLinear:
    """Odds of options that are those of ``draw_rewrite`` times exp(w · features); w is 0 at first.

    Args:
        features: numbers that describe an option.
    """

    def __init__(self, features: int) -> None:
        self._weights = torch.zeros(features, dtype=torch.float64, requires_grad=True)

    def parameters(self) -> list[Tensor]:
        """All weights, float64."""
        return [self._weights]

    def judge(self, episodes: Sequence[tuple[EditChoice, ...]]) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies of rewrites; see ``Controller``."""
        logs = [[self._log_odds(choice.options) for choice in episode] for episode in episodes]
        taken = [
            sum((one[choice.index] for one, choice in zip(found, episode, strict=True)), torch.zeros(()))
            for found, episode in zip(logs, episodes, strict=True)
        ]
        entropies = [sum((_entropy(one) for one in found), torch.zeros(())) for found in logs]
        return torch.stack(taken), torch.stack(entropies)

    @torch.no_grad()
    def choose(self, options: Options, rng: np.random.Generator) -> int:
        """Draw one of the options."""
        return draw_each(self._log_odds(options).exp().numpy()[None], rng)[0]

    def _log_odds(self, options: Options) -> Tensor:
        logits = torch.from_numpy(options.log_odds) + torch.from_numpy(options.features) @ self._weights
        return torch.log_softmax(logits, 0)


def draw_each(odds: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Draw one place per row by its odds [n, k], which need not add up to one; odds of 0 are never drawn.

    Raises:
        ConfigError: odds are no finite numbers, since the weights behind them have grown without bound.
    """
    if not np.isfinite(odds).all():
        raise ConfigError(
            "the odds of what comes next are no finite numbers: lower strategy.learning_rate or strategy.entropy"
        )
    sums = odds.cumsum(1)
    thresholds = rng.random(len(odds))[:, None] * sums[:, -1:]
    places: list[int] = (sums <= thresholds).sum(1).tolist()
    return places


def _masked(logits: Tensor, legal: Tensor) -> Tensor:
    return torch.log_softmax(logits.masked_fill(~legal, -torch.inf), -1)


def _entropy(logs: Tensor) -> Tensor:
    """Entropy over the last dimension of log-probabilities, some of which may be minus infinity."""
    finite = torch.where(torch.isinf(logs), 0.0, logs)
    return -(logs.exp() * finite).sum(-1)


def _last_token(stages: Stages) -> int | None:
    """The token that a code ends with; None at its beginning."""
    if stages[-1]:
        return TOKENS.index(stages[-1][-1])
    return BORDER if len(stages) > 1 else None
