"""Finding and loading the native libraries, and saying once what is missing."""

import functools
import json
import os
import warnings
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
BUILD_COMMAND = "pip install --no-build-isolation ./csrc"
MODES = ("auto", "require", "reference")
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
INTERFACE = "i9e711b5d"
"""What the libraries must be built by: ``native_build.interface`` of the schemas that this code calls."""

FAILURES = FOLDER / "_failures.json"
"""Library → why it could not be built, as the last build found."""

problems: dict[str, str] = {}
"""Library → why it is not used, as a clause behind "spnas_kernels …: "."""

_loaded: set[str] = set()


class KernelsMissingError(ImportError):
    """A native library is required and is not there."""


def mode() -> str:
    """What SPNAS_KERNELS says: ``auto``, ``require`` (no fallback), or ``reference`` (never the native libraries)."""
    wanted = os.environ.get("SPNAS_KERNELS", "auto")
    if wanted not in MODES:
        raise KernelsMissingError(f"SPNAS_KERNELS is {wanted!r}: choose from {', '.join(MODES)}")
    return wanted


def find(name: str) -> Path | None:
    """Path of a library inside the installed package."""
    return next((path for path in _paths(name) if path.exists()), None)


def _paths(name: str) -> Iterator[Path]:
    return (FOLDER / f"{name}{suffix}" for suffix in EXTENSION_SUFFIXES)


def load() -> None:
    """Load the libraries of this machine.

    Raises:
        KernelsMissingError: a variable has a value that is not known; SPNAS_KERNELS=require and there is no CPU
            library, or one does not load.
    """
    wanted = mode()
    _check_instruction_set()
    if wanted == "reference":
        return
    for name in ("_cpu", "_cuda") if torch.version.cuda else ("_cpu",):
        path = usable(name)
        if path is not None:
            try:
                torch.ops.load_library(path)  # type: ignore[no-untyped-call]
                _loaded.add(name)
            except OSError as error:
                problems[name] = f"{path.name} does not load ({error})"
        if name in problems and (name == "_cpu" or find(name)):  # what CUDA lacks is told where CUDA is used
            _complain(wanted, problems[name])


def usable(name: str) -> Path | None:
    """Path of a library that may be loaded; where there is none, ``problems`` says why."""
    path = find(name)
    if path is None:
        problems[name] = f"{_MISSING[name]}{_failure(name)}"
    elif f"spnas interface {INTERFACE}".encode() not in path.read_bytes():
        problems[name] = f"{path.name} was built from other sources than this version's"
    return None if name in problems else path


_MISSING = {
    "_cpu": "its native library was not built",
    "_cuda": "it has no library for CUDA, which is built where a toolkit with nvcc is found",
    "_matching": "it has no matching module",
}


def _failure(name: str) -> str:
    """What the build said of a library, in brackets."""
    try:
        found = json.loads(FAILURES.read_text()).get(name)
    except (OSError, ValueError, AttributeError):
        return ""
    return f" ({found})" if found else ""


def _check_instruction_set() -> None:
    wanted = os.environ.get("SPNAS_KERNELS_ISA")
    if wanted is not None and wanted not in INSTRUCTION_SETS:
        raise KernelsMissingError(f"SPNAS_KERNELS_ISA is {wanted!r}: choose from {', '.join(INSTRUCTION_SETS)}")


def _complain(wanted: str, reason: str) -> None:
    if wanted == "require":
        raise KernelsMissingError(f"spnas_kernels is required and {reason}: {BUILD_COMMAND}")
    warnings.warn(
        f"spnas_kernels computes with plain PyTorch, many times slower: {reason}. Build it: {BUILD_COMMAND}",
        stacklevel=3,
    )


def is_loaded() -> bool:
    """Say whether the operators are defined, ``torch.ops.spnas.…``: the CPU library holds their schemas."""
    return "_cpu" in _loaded


def is_native(tensor: Tensor) -> bool:
    """Say whether the native operators take a tensor: its device's library is loaded."""
    if tensor.device.type == "cuda":
        if "_cuda" not in _loaded:
            _miss_cuda()
        return "_cuda" in _loaded
    return "_cpu" in _loaded and tensor.device.type in {"cpu", "meta"}


@functools.cache  # once is enough
def _miss_cuda() -> None:
    if mode() != "reference":
        _complain(mode(), problems.get("_cuda", _MISSING["_cuda"]))


def is_certain(condition: bool | torch.SymBool) -> bool:
    """Say whether a condition on sizes holds; of sizes that values decide, while some graph is traced, whether it must.

    What is not certain then is left to the operator's own checks.
    """
    if not torch.compiler.is_compiling() and not isinstance(condition, torch.SymBool):
        return bool(condition)
    from torch.fx.experimental.symbolic_shapes import guard_or_false

    return guard_or_false(condition)


def check_devices(name: str, first: Tensor, **others: Tensor) -> None:
    """Refuse tensors on several devices, as the native kernels do: for the operators' fake implementations."""
    for other, tensor in others.items():
        if tensor.device != first.device:
            raise RuntimeError(f"{other} must be on the device of {name}, {first.device}, not on {tensor.device}")
