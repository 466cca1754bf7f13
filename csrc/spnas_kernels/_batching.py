"""What the operators' rules for ``torch.vmap`` share: a batch of calls is one call with more images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def in_front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The batch as dimension 0 of Tensor[size, …]; what is not batched is repeated, without memory."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def folded(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The batch and the images behind one another: Tensor[size · N, …] of Tensor[N, …]."""
    return in_front(tensor, dim, size).flatten(0, 1)


def unfolded(tensor: Tensor, size: int, count: int) -> Tensor:
    """The way back: Tensor[size, count, …] of Tensor[size · count, …]; a batch may be empty."""
    return tensor.reshape(size, count, *tensor.shape[1:])


def images_of(tensor: Tensor, dim: int | None) -> int:
    """How many images one call of the batch has."""
    return tensor.shape[0 if dim is None else int(dim == 0)]


def refuse_vmap(operator: str, reason: str) -> None:
    """Register that an operator has no rule, and why; torch would try one call after the other."""

    def refuse(info: Any, in_dims: Any, *_: object) -> tuple[Any, Any]:
        raise RuntimeError(f"{operator} can't be called under torch.vmap: {reason}")

    register_vmap(operator, refuse)


def register_vmap(operator: str, rule: Callable[..., tuple[Any, Any]]) -> None:
    """As ``torch.library.register_vmap``, for an operator of this library."""
    torch.library.register_vmap(f"spnas::{operator}", rule)
