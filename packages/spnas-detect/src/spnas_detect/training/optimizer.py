"""The optimiser, its settings, and its state as named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spnas_detect.training.settings import TrainingSettings


def make_optimizer(module: nn.Module, settings: TrainingSettings, learning_rate: float) -> torch.optim.Optimizer:
    """Make the optimiser; only tensors of two and more dimensions decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(settings.momentum, 0.999), fused=True)
    # One launch in place of several for each list of tensors; on a CPU nothing would be gained.
    fused = any(parameter.is_cuda for parameter in trained)
    nesterov = settings.momentum > 0 and settings.nesterov is not False
    return torch.optim.SGD(groups, lr=learning_rate, momentum=settings.momentum, nesterov=nesterov, fused=fused or None)


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state, as ``momentum_buffer/<parameter>`` and so on."""
    return {
        f"{key}/{name}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


@torch.no_grad()
def restore_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that ``optimizer_tensors`` returned, for a module of the same parameters.

    Raises:
        ValueError: some parameters have a state that others lack, or a tensor is of another shape.
    """
    parameters = dict(module.named_parameters())
    named: dict[str, set[str]] = {}
    for key_and_name in tensors:
        key, name = key_and_name.split("/", 1)
        named.setdefault(key, set()).add(name)
    if any(names != set.union(*named.values()) for names in named.values()):
        raise ValueError("some parameters have no state of the optimizer")
    for key_and_name, tensor in tensors.items():
        key, name = key_and_name.split("/", 1)
        parameter = parameters[name]
        if tensor.shape == parameter.shape:
            # In the parameter's own memory format: fused optimisers walk through both in parallel.
            value = torch.empty_like(parameter).copy_(tensor)
        elif tensor.numel() == 1:
            value = tensor.to(parameter.device)
        else:
            raise ValueError(f"{key_and_name} has the shape {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        optimizer.state[parameter][key] = value
