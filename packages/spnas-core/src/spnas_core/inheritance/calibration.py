"""Letting new norm layers pass their input through in training mode too.

Batch norm in training mode normalises by the batch, so γ = 1, β = 0 passes the input through in evaluation mode only.
With γ = σ and β = μ of the layer's input, and the same as running statistics, it does so in both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate_pass_through(module: nn.Module, norms: Sequence[str], images: Tensor) -> None:
    """Set γ = σ, β = μ and the running statistics of the named norm layers from one batch.

    One forward pass suffices: each layer is set before it runs, so the layers behind it see what they will see.

    Args:
        module: the network; its mode and all other tensors stay as they are.
        norms: names of BatchNorm2d layers inside it.
        images: Tensor[N, 3, H, W].

    Raises:
        TypeError: a named layer that is no BatchNorm2d with running statistics.
    """
    if not norms:
        return

    def set_from_input(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise TypeError(f"only BatchNorm2d with running statistics can be calibrated, not {norm}")
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)

    was_training = module.training
    module.eval()
    handles = [module.get_submodule(name).register_forward_pre_hook(set_from_input) for name in norms]
    try:
        module(images)
    finally:
        for handle in handles:
            handle.remove()
        module.train(was_training)
