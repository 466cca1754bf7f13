"""Random cases of weight copies: every byte of the destinations' memory must be what the reference leaves there."""

import ctypes
import random

import device
import torch
from torch import Tensor

from spnas_kernels.references import copy_weights as reference

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
OTHERS = [torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool, torch.complex64, torch.complex128]


def laid_out(rng: random.Random, shape: list[int], dtype: torch.dtype, values: Tensor, order: str) -> Tensor:
    """Values in memory of their own, which need not start at a multiple of 16 bytes; as a view of what holds it."""
    dims = list(range(len(shape)))
    if order == "transposed":
        rng.shuffle(dims)
    step = 2 if order == "gaps" else 1
    strides = [0] * len(shape)
    span = step
    for dim in reversed(dims):
        strides[dim] = span
        span *= max(1, shape[dim])
    shift = rng.choice([0, 0, 1, 3])
    memory = torch.full((shift + span,), 7, dtype=torch.float64).to(dtype)
    view = memory.as_strided(shape, strides, shift)
    view.copy_(values.expand(shape) if dtype.is_complex else values.expand(shape).to(dtype))
    return view


def memory_of(view: Tensor) -> Tensor:
    """All that the view's memory holds."""
    whole = view.new_empty(0).set_(view.untyped_storage())
    if whole.dtype == torch.bool:
        return whole.view(torch.uint8)
    return torch.view_as_real(whole) if whole.is_complex() else whole


def some_values(rng: random.Random, shape: list[int]) -> Tensor:
    values = torch.randn(shape, dtype=torch.float64) * 10 ** rng.randint(-9, 6)
    if values.numel() and rng.random() < 0.2:
        values.view(-1)[rng.randrange(values.numel())] = rng.choice([torch.nan, torch.inf, -torch.inf, 0.0])
    return values


def integral(values: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return values
    if dtype.is_complex:
        return torch.complex(values, values.flip(0) if values.dim() else values).to(dtype)
    return values.nan_to_num(0.0, 1.0, 2.0).abs() % 100


def plain_copy(rng: random.Random) -> tuple[Tensor | None, ...]:
    dims = rng.randint(0, 5)
    shape = [rng.choice([1, 2, 3, 5, 8, 9, 0] if dims > 2 else [1, 3, 16, 17, 33, 100]) for _ in range(dims)]
    if rng.random() < 0.05:
        shape = [rng.choice([66_000, 9_001])]  # several pieces
    dtype = rng.choice([*FLOATS, *OTHERS])
    values = integral(some_values(rng, shape), dtype)
    source = laid_out(rng, shape, dtype, values, "plain")
    destination = laid_out(rng, shape, dtype, torch.zeros(()), "plain")
    if len(shape) >= 2 and rng.random() < 0.3:  # dense on both sides, in another order
        source, destination = source.transpose(0, 1), destination.transpose(0, 1)
    return destination, source, None, None, None


def mapped_copy(rng: random.Random) -> tuple[Tensor | None, ...]:
    dims = rng.randint(0, 6)
    shape = [rng.choice([1, 1, 2, 3, 5, 9, 0]) for _ in range(dims)]
    if dims == 2 and rng.random() < 0.2:
        shape = [rng.choice([70, 129]), rng.choice([64, 65])]  # several pieces
    source_shape = list(shape)
    maps: list[Tensor | None] = [None, None]
    for dim in range(min(dims, 2)):
        if rng.random() < 0.5:
            source_shape[dim] = rng.randint(1, 7)
            maps[dim] = torch.randint(source_shape[dim], (shape[dim],))
    is_float = rng.random() < 0.7
    dtype = rng.choice(FLOATS if is_float else OTHERS)
    source_dtype = rng.choice([dtype, *FLOATS]) if is_float else dtype
    scale = None
    if is_float and rng.random() < 0.5:
        scale = torch.randn(shape[1] if dims >= 2 and rng.random() < 0.6 else 1, dtype=torch.float64)
    orders = ["plain", "gaps", "transposed"]
    source = laid_out(
        rng, source_shape, source_dtype, integral(some_values(rng, source_shape), source_dtype), rng.choice(orders)
    )
    destination = laid_out(rng, shape, dtype, torch.zeros(()), rng.choice(orders))
    return destination, source, *maps, scale


def check(library: ctypes.CDLL, seed: int, plan: list[tuple[Tensor | None, ...]]) -> None:
    plan = [copy for copy in plan if copy[0].numel()]
    if not plan:
        return
    expected = [memory_of(destination).clone() for destination, *_ in plan]
    views = [
        destination.new_empty(0).set_(
            destination.untyped_storage().clone(),
            destination.storage_offset(),
            destination.shape,
            destination.stride(),
        )
        for destination, *_ in plan
    ]
    columns = list(zip(*plan, strict=True))
    reference.copy_weights_(views, *columns[1:])
    device.copy_weights(library, seed, plan)
    expected = [memory_of(view) for view in views]
    for (destination, source, *changes), theirs in zip(plan, expected, strict=True):
        ours = memory_of(destination)
        same = ours == theirs
        if ours.is_floating_point():
            same |= ours.isnan() & theirs.isnan()
        if not same.all():
            kinds = [None if change is None else tuple(change.shape) for change in changes]
            raise AssertionError(
                f"{int((~same).sum())} of {ours.numel()} values differ: {destination.dtype} {tuple(destination.shape)} "
                f"{destination.stride()} from {source.dtype} {tuple(source.shape)} {source.stride()} {kinds}"
            )


def copy_plain(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    plan = [plain_copy(rng) for _ in range(rng.choice([1, 1, 2, 5]))]
    if not all(device.is_plain(*copy) for copy in plan):
        raise AssertionError("a case of plain copies holds another one")
    check(library, seed, plan)


def copy_mapped(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    plan = [mapped_copy(rng) for _ in range(rng.choice([1, 1, 2, 5]))]
    if rng.random() < 0.2:
        plan.append(plain_copy(rng))
    check(library, seed, plan)
