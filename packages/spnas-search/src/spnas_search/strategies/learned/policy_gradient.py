"""The policy gradient: REINFORCE with a moving baseline, and PPO.

Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992; Schulman et
al., "Proximal Policy Optimization Algorithms", 2017, equation 7.
"""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from spnas_core.configuration import Few, Table
from spnas_search.strategies.learned.controllers import Controller

_Episode = TypeVar("_Episode")


class PolicyGradientSettings(Table):
    """What the ``[strategy]`` table of a policy says of its learning.

    Attributes:
        algorithm: ``reinforce``, one step per round; ``ppo``, ``passes`` steps, in which no episode's probability
            counts as changed by more than ``clip``.
        optimiser: ``adam`` (Kingma & Ba, ICLR 2015), or plain ``sgd``.
        learning_rate: of the optimiser.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
        epsilon: that Adam adds to the root of these.
        entropy: weight of the entropy of the choices beside the rewards.
        baseline_decay: of the moving average of earlier rewards.
        clip: of PPO.
        passes: steps of PPO per round.
    """

    algorithm: Literal["reinforce", "ppo"] = "reinforce"
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(0.01, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)
    entropy: float = Field(1e-4, ge=0)
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    clip: float = Field(0.2, gt=0, lt=1)
    passes: Few = Field(4, ge=1)


class PolicyGradient(Generic[_Episode]):
    """Changes the weights of a controller by the rewards of what it has drawn.

    Maximises Σ (R - b) · log π + entropy over a round. The baseline b begins at the first reward, and each reward
    enters it after it was compared.

    Args:
        controller: whose weights are changed.
        settings: of its learning.
    """

    def __init__(self, controller: Controller[_Episode], settings: PolicyGradientSettings) -> None:
        self.controller = controller
        self._settings = settings
        self._baseline: float | None = None
        self._weights = [weights.requires_grad_() for weights in controller.parameters()]
        self._means = [torch.zeros_like(weights) for weights in self._weights]
        self._squares = [torch.zeros_like(weights) for weights in self._weights]
        self._steps = 0

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """Return rewards above the baseline, which takes each of them in afterwards.

        Example: 0.2, 0.4 and 0.8 with a decay of 0.95: the baseline is 0.2, 0.2 and 0.21, so they are 0, 0.2 and 0.59.
        """
        found = []
        for reward in rewards:
            baseline = reward if self._baseline is None else self._baseline
            found.append(reward - baseline)
            decay = self._settings.baseline_decay
            self._baseline = decay * baseline + (1 - decay) * reward
        return found

    def learn(self, episodes: Sequence[_Episode], rewards: Sequence[float]) -> None:
        """Learn one round.

        Args:
            episodes: what was drawn, in a fixed order; at least one.
            rewards: one for each.
        """
        settings = self._settings
        advantages = torch.tensor(self.advantages(rewards), dtype=torch.float64)
        earlier: Tensor | None = None
        for _ in range(settings.passes if settings.algorithm == "ppo" else 1):
            logs, entropies = self.controller.judge(episodes)
            if settings.algorithm == "ppo":
                earlier = logs.detach() if earlier is None else earlier
                gained = clipped(logs, earlier, advantages, settings.clip)
            else:
                gained = advantages * logs
            objective = gained.sum() + settings.entropy * entropies.sum()
            self._climb(torch.autograd.grad(objective, self._weights))

    @torch.no_grad()
    def _climb(self, gradients: Sequence[Tensor]) -> None:
        """Take one step upwards; by hand, since importing ``torch.optim`` takes longer than many a search does."""
        settings = self._settings
        self._steps += 1
        for weights, mean, square, gradient in zip(self._weights, self._means, self._squares, gradients, strict=True):
            if settings.optimiser == "sgd":
                weights.add_(settings.learning_rate * gradient)
                continue
            mean.lerp_(gradient, 1 - settings.beta1)
            square.lerp_(gradient**2, 1 - settings.beta2)
            unbiased = mean / (1 - settings.beta1**self._steps)
            root = (square / (1 - settings.beta2**self._steps)).sqrt()
            weights.add_(settings.learning_rate * unbiased / (root + settings.epsilon))


def clipped(logs: Tensor, earlier: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return PPO's objective per episode: min(r · A, clip(r, 1 - ε, 1 + ε) · A) with r = π / π of before.

    Args:
        logs: Tensor[n], log-probabilities now.
        earlier: Tensor[n], before the round was learnt.
        advantages: Tensor[n].
        clip: ε.
    """
    ratios = (logs - earlier).exp()
    return torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages)
