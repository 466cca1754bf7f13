"""Training the choice among the parts of a start together with their weights."""

import math
from collections.abc import Iterator
from itertools import count
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from spnas_core.relaxation import (
    Choice,
    Decisions,
    ExpectedCost,
    Logits,
    Odds,
    Relaxation,
    anneal,
    draw_choice,
    draw_other,
    gumbel_odds,
    log_odds,
    odds_of,
    probabilities,
    unrolled_gradient,
)
from spnas_core.supernets import MixedBackbone
from spnas_detect.data import Loader
from spnas_detect.data.loader import Batch
from spnas_detect.supernets.paths import Paths
from spnas_detect.training.precision import uses_bfloat16
from spnas_detect.training.trainer import Trainer

_FIRST, _NOISE, _DRAWS, _SAMPLING = range(8, 12)
"""Streams of a seed: first values, Gumbel noise, sampled parts, and what heads sample for α."""
LOG_SCALE = 0.2
"""ProxylessNAS's factor of a loss with the logarithm of the cost."""
TRIES = 32
"""Draws at most until a second choice gives another part: leaving out one block or its like gives the same."""


class RelaxedWeights:
    """Trains α, the logits of all decisions, beside the weights; see ``Relaxation``.

    Args:
        trainer: of the weights.
        paths: of its detector.
        relaxation: how.
        others: training images that the trainer does not see, of which α learns where it does not learn from the same
            loss.
        image_size: (width, height) in pixels at which cost is counted.

    Attributes:
        logits: α.
    """

    def __init__(
        self,
        trainer: Trainer,
        paths: Paths,
        relaxation: Relaxation,
        others: Loader | None,
        image_size: tuple[int, int],
    ) -> None:
        self._trainer, self._paths, self._relaxation = trainer, paths, relaxation
        self._decisions = Decisions(paths.whole.architecture, relaxation.mixes)
        self._cost = ExpectedCost(self._decisions, *image_size)
        self._reference = relaxation.cost_reference * float(self._cost(_whole(self._decisions)))
        drawn = Logits.drawn(self._decisions, np.random.default_rng([trainer.seed, _FIRST]))
        self.logits = Logits(*(one.detach().to(trainer.device).requires_grad_() for one in drawn.tensors()))
        self._optimizer = torch.optim.Adam(
            self.logits.tensors(),
            relaxation.learning_rate,
            (relaxation.beta, 0.999),
            weight_decay=relaxation.weight_decay,
        )
        self._batches = None if others is None else (batch for epoch in count() for batch in others.epoch(epoch))
        self._mixed = MixedBackbone(paths.whole, self._decisions) if relaxation.mixes else None
        self._weights = [one for one in trainer.detector.parameters() if one.requires_grad]
        self._step = 0

    def before_step(self, step: int) -> None:
        """Train α where it has images of its own; then choose what computes while the weights are trained."""
        self._step = step
        if self._relaxation.halves and self._is_due():
            self._train_alpha()
        if self._mixed is None:
            drawn = self._drawn(0, probabilities(self._decisions, self.logits))
            self._paths.choose(self._decisions.code(drawn))
        else:
            self._mix(trains_alpha=not self._relaxation.halves and self._is_due())

    def after_step(self) -> None:
        """Train α where it learns from the same loss as the weights."""
        if self._relaxation.halves or not self._is_due():
            return
        if self._relaxation.cost:  # the loss itself has been differentiated by the trainer
            (self._extra(self._odds())).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def restore(self) -> None:
        """Compute the whole start again."""
        self._paths.restore()

    def receipt(self) -> dict[str, Any]:
        """The logits, and the multiply-adds that a part drawn by them is expected to take."""
        expected = float(self._cost(probabilities(self._decisions, self.logits)).detach())
        return {
            "relaxation": {
                **self.logits.plain(),
                "kind": self._relaxation.kind,
                "expected_multiply_adds": expected,
            }
        }

    def _is_due(self) -> bool:
        begin = math.ceil(self._relaxation.warmup * self._trainer.steps)
        return self._step >= begin and (self._step - begin) % self._relaxation.every == 0

    def _odds(self) -> Odds:
        """What features are added up by; with Gumbel noise the same in each call of a step."""
        if self._relaxation.kind != "gumbel":
            return probabilities(self._decisions, self.logits)
        temperature = anneal(self._step, self._trainer.steps) if self._relaxation.anneals else 1.0
        noise = _generator(self._trainer.device, self._trainer.seed, _NOISE, self._step)
        return gumbel_odds(self._decisions, self.logits, temperature, noise)

    def _mix(self, *, trains_alpha: bool) -> None:
        mixed = cast("MixedBackbone", self._mixed)
        mixed.odds = self._odds if trains_alpha else (lambda: _detached(self._odds()))
        self._paths.put(mixed)

    def _drawn(self, number: int, odds: Odds) -> Choice:
        """Draw a part: of a step the first computes while the weights are trained, the others are compared."""
        rng = np.random.default_rng([self._trainer.seed, _DRAWS, self._step, number])
        return draw_choice(odds, self._decisions, rng)

    def _other(self, choice: Choice, odds: Odds) -> Choice:
        """Draw another part than a choice's, by the chances of all others; the same where no other has any."""
        rng = np.random.default_rng([self._trainer.seed, _DRAWS, self._step, 2])
        code, found = self._decisions.code(choice), None
        for _ in range(TRIES):
            found = draw_other(odds, self._decisions, choice, rng)
            if found is None or self._decisions.code(found) != code:
                break
        return found or choice

    def _train_alpha(self) -> None:
        """Make one step of α on the next images of its half."""
        batch = next(cast("Iterator[Batch]", self._batches))
        if self._mixed is None:
            gradients = self._of_two_paths(batch)
        elif self._relaxation.second_order:
            gradients = self._of_second_order(batch)
        else:
            self._mix(trains_alpha=True)
            total = self._with_cost(self._loss(batch), probabilities(self._decisions, self.logits))
            gradients = list(torch.autograd.grad(total, self.logits.tensors()))
        self._apply(gradients)

    def _of_two_paths(self, batch: Batch) -> list[Tensor]:
        """Compare two different sampled parts by their losses: ∂L/∂g of each is its loss.

        Cai et al., "ProxylessNAS", section 3.2.1: of two sampled paths the probabilities are rescaled to a sum of one.
        """
        odds = probabilities(self._decisions, self.logits)
        first = self._drawn(1, odds)
        choices = [first, self._other(first, odds)]
        losses = []
        for choice in choices:
            self._paths.choose(self._decisions.code(choice))
            with torch.no_grad():
                losses.append(self._loss(batch))
        chances = torch.stack([log_odds(odds, choice, self._decisions) for choice in choices]).softmax(-1)
        total = self._with_cost((chances * torch.stack(losses)).sum(), odds)
        return list(torch.autograd.grad(total, self.logits.tensors()))

    def _of_second_order(self, batch: Batch) -> list[Tensor]:
        """Differentiate through a plain step of the weights on the images that they are about to see."""
        self._mix(trains_alpha=True)
        trainer = self._trainer
        epoch, place = divmod(self._step, trainer.steps_per_epoch)
        trained_on = next(trainer.loader.epoch(epoch, place * trainer.settings.accumulate))
        return unrolled_gradient(
            lambda: self._loss(trained_on),
            lambda: self._with_cost(self._loss(batch), probabilities(self._decisions, self.logits)),
            self._weights,
            self.logits.tensors(),
            trainer.rate_at(self._step),
        )

    def _loss(self, batch: Batch) -> Tensor:
        here = batch.to(self._trainer.device)
        sampling = _generator(self._trainer.device, self._trainer.seed, _SAMPLING, self._step)
        uses_bf16 = uses_bfloat16(self._trainer.settings.precision, self._trainer.device)
        with torch.autocast(self._trainer.device.type, torch.bfloat16, enabled=uses_bf16):
            losses: dict[str, Tensor] = self._paths.detector.losses(  # type: ignore[operator]
                here.inputs(), here.targets, generator=sampling
            )
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def _with_cost(self, loss: Tensor, odds: Odds) -> Tensor:
        settings = self._relaxation
        if not settings.cost:
            return loss
        if settings.cost_form == "add":
            return loss + self._extra(odds)
        ratio = self._cost(odds).log() / math.log(self._reference)
        return loss * (LOG_SCALE * ratio**settings.cost)

    def _extra(self, odds: Odds) -> Tensor:
        return self._relaxation.cost * (self._cost(odds) - self._reference) / self._reference

    def _apply(self, gradients: list[Tensor]) -> None:
        for one, gradient in zip(self.logits.tensors(), gradients, strict=True):
            one.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def _whole(decisions: Decisions) -> Odds:
    """The start itself, for certain."""
    keep, move = (torch.tensor(values) for values in decisions.one_hot(decisions.whole()))
    return odds_of(keep, move)


def _detached(odds: Odds) -> Odds:
    return Odds(odds.keep.detach(), odds.move.detach(), odds.steps.detach(), odds.nodes.detach())


def _generator(device: torch.device, *entropy: int) -> torch.Generator:
    state = np.random.SeedSequence(list(entropy)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> 1))
