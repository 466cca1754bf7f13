"""What the wrappers refuse by name before an operator sees it: arguments of the wrong kind."""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


def dense(name: str, given: Any) -> Tensor:
    """Give a tensor with strides back.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(given, Tensor):
        raise ValueError(f"{name} must be a tensor, not {_kind(given)}")  # noqa: TRY004
    if given.layout != torch.strided or given.is_quantized:
        kind = "quantized" if given.is_quantized else str(given.layout).removeprefix("torch.")
        raise ValueError(f"{name} must be a dense tensor, not a {kind} one")
    return given


def dense_list(name: str, given: Any) -> list[Tensor]:
    """Give the tensors of a sequence or another iterable, as a list.

    Raises:
        ValueError: it is none, or something in it is no dense tensor.
    """
    return [dense(f"{name}[{index}]", entry) for index, entry in enumerate(listed(name, given))]


def listed(name: str, given: Any) -> list[Any]:
    """Give the entries of a sequence or another iterable; a mapping's order is nobody's word.

    Raises:
        ValueError: it is none.
    """
    if isinstance(given, (Mapping, str)) or not isinstance(given, Iterable):
        raise ValueError(f"{name} must be a sequence, not {_kind(given)}")  # noqa: TRY004
    return list(given)


def whole_number(name: str, given: Any) -> int:
    """Give a whole number back, NumPy's as Python's; True is none.

    Raises:
        ValueError: it is none, or does not fit into 64 bits.
    """
    if isinstance(given, torch.SymInt):
        return cast("int", given)
    if isinstance(given, bool) or not isinstance(given, (int, Integral)):
        raise ValueError(f"{name} must be a whole number, not {_kind(given)}")  # noqa: TRY004
    number = given if isinstance(given, int) else int(given)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} is {number}: it must fit into 64 bits")
    return number


def number(name: str, given: Any) -> float:
    """Give a number back, that of NumPy or of a tensor as Python's; True is none.

    Raises:
        ValueError: it is none.
    """
    if isinstance(given, (torch.SymFloat, torch.SymInt)):
        return cast("float", given)
    is_one = isinstance(given, Tensor) and given.numel() == 1 and not given.is_complex()
    if isinstance(given, bool) or not (is_one or isinstance(given, (int, float, Real))):
        raise ValueError(f"{name} must be a number, not {_kind(given)}")
    return float(given)


def flag(name: str, given: Any) -> bool:
    """Give True or False back, also of 1 and 0.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(given, (int, np.bool_)) or given not in (0, 1):
        raise ValueError(f"{name} must be True or False, not {_kind(given)}")
    return bool(given)


def _kind(given: object) -> str:
    """A value where it is short, else its type."""
    return repr(given) if isinstance(given, (str, bool, int, float, complex, type(None))) else type(given).__name__
