"""Letting new norm layers pass their input through in training mode too.

Batch norm in training mode normalises by the batch, so γ = 1, β = 0 passes the input through in evaluation mode only.
With γ = σ and β = μ of the layer's input, and the same as running statistics, it does so in both.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate_pass_through(module: nn.Module, norms: Sequence[str], images: Tensor) -> None:
    """Set γ = σ, β = μ and the running statistics of the named norm layers from one batch.

    One forward pass suffices: each layer is set before it runs, so the layers behind it see what they will see. A layer
    that is used in several places, as by rows that share weights, has one γ and β, those of its last use; a second pass
    gives all places running statistics that agree with these, so in evaluation mode each passes its input through.

    Args:
        module: the network; its mode and all other tensors stay as they are.
        norms: names of BatchNorm2d layers inside it.
        images: Tensor[N, 3, H, W].

    Raises:
        TypeError: a named layer that is no BatchNorm2d with running statistics.
    """
    if not norms:
        return
    uses: Counter[nn.Module] = Counter()

    def set_from_input(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        uses[norm] += 1
        weight, bias, mean, variance, eps = _parts(norm)
        variance_of_input, mean_of_input = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        mean.copy_(mean_of_input)
        variance.copy_(variance_of_input)
        weight.copy_((variance + eps).sqrt())
        bias.copy_(mean)

    def agree(norm: nn.Module, _: object) -> None:
        weight, bias, mean, variance, eps = _parts(norm)
        mean.copy_(bias)
        variance.copy_(weight.square() - eps)

    was_training = module.training
    module.eval()
    try:
        _run_hooked(module, norms, set_from_input, images)
        if any(count > 1 for count in uses.values()):
            _run_hooked(module, norms, agree, images)
    finally:
        module.train(was_training)


def _run_hooked(module: nn.Module, names: Sequence[str], hook: Callable[..., None], images: Tensor) -> None:
    handles = [module.get_submodule(name).register_forward_pre_hook(hook) for name in names]
    try:
        module(images)
    finally:
        for handle in handles:
            handle.remove()


def _parts(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """γ, β, running mean, running variance and ε of a norm."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"only BatchNorm2d with running statistics can be calibrated, not {norm}")
    return norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
