"""Gradients through a step of training: the second order of DARTS.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, eq. 7 and 8.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EPSILON = 0.01


def unrolled_gradient(
    training_loss: Callable[[], Tensor],
    validation_loss: Callable[[], Tensor],
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    rate: float,
    *,
    momenta: Sequence[Tensor | None] | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> list[Tensor]:
    """Return the gradient of the validation loss after one step of training, with respect to the architecture.

    With w' = w − ξ (μ m + ∇_w L_train + λ w) it is ``∇_α L_val(w', α) − ξ ∇²_{α,w} L_train(w, α) ∇_{w'} L_val(w', α)``;
    the product with the Hessian is a central difference at w ± ε v, ε = 0.01 / ‖v‖. The weights are what they were
    afterwards. A rate of zero gives the first order.

    Args:
        training_loss: computes the loss on training images with the present weights and architecture.
        validation_loss: likewise, on validation images.
        weights: of the network.
        alphas: of the architecture.
        rate: ξ, of the step.
        momenta: m, per weight; None for zeros.
        momentum: μ.
        weight_decay: λ.
    """
    kept = [weight.detach().clone() for weight in weights]
    try:
        if rate:
            steps = _gradients(training_loss(), weights)
            with torch.no_grad():
                for place, (weight, step) in enumerate(zip(weights, steps, strict=True)):
                    moved = None if momenta is None else momenta[place]
                    whole = step + weight_decay * weight + (0 if moved is None else momentum * moved)
                    weight.sub_(rate * whole)
        loss = validation_loss()
        both = _gradients(loss, [*alphas, *weights])
        direct, direction = both[: len(alphas)], both[len(alphas) :]
        if not rate:
            return direct
        size = torch.stack([one.norm() for one in direction]).norm()
        if not size > 0:
            return direct
        epsilon = EPSILON / size
        sides = []
        for sign in (1, -1):
            _put(weights, [old + sign * epsilon * one for old, one in zip(kept, direction, strict=True)])
            sides.append(_gradients(training_loss(), alphas))
        products = [(above - below) / (2 * epsilon) for above, below in zip(*sides, strict=True)]
        return [one - rate * product for one, product in zip(direct, products, strict=True)]
    finally:
        _put(weights, kept)


def _gradients(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Gradients; zero where the loss does not depend on an input."""
    if not loss.requires_grad:
        return [torch.zeros_like(one) for one in inputs]
    found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, list(inputs), allow_unused=True)
    return [torch.zeros_like(one) if got is None else got for got, one in zip(found, inputs, strict=True)]


@torch.no_grad()
def _put(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
