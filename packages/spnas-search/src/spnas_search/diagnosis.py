"""Is this machine set up? Versions, kernels, devices, plugins and space, each with what to do where it is not."""

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from spnas_core.machine import usable_cores
from spnas_core.plugins import broken_plugins, plugin_origins, registry
from spnas_core.plugins.registries import nouns

State = Literal["ok", "warning", "error"]

OURS = ("spnas-core", "spnas-detect", "spnas-kernels", "spnas-search")
OLDEST = {"python": (3, 11), "torch": (2, 11)}
LITTLE_SPACE = 2 * 2**30
"""Bytes below which a folder gets a warning: a cache and a few weights."""

LITTLE_MEMORY = 2**30
"""Bytes per core below which memory gets a warning."""


@dataclass(frozen=True)
class Symptom:
    """One thing that was looked at.

    Attributes:
        part: what.
        state: ``ok``; ``warning`` where something works worse than it could; ``error`` where a search would fail.
        found: what was found.
        remedy: what to do; empty where nothing is to be done.
    """

    part: str
    state: State
    found: str
    remedy: str = ""


def examine(folder: Path) -> Iterator[Symptom]:
    """Look at everything, in the order in which things depend on each other; what breaks is a symptom and no error.

    Args:
        folder: where runs are to lie.
    """
    checks: tuple[tuple[str, Callable[[], Iterator[Symptom]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("spnas", _ours),
        ("kernels", _kernels),
        ("devices", _devices),
        ("memory", _memory),
        ("plugins", _plugins),
        ("space", lambda: _space(folder)),
    )
    for part, check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - a broken part must not hide the others
            yield Symptom(part, "error", f"{type(error).__name__}: {' '.join(str(error).split())}", _REINSTALL)


_REINSTALL = "install it anew: python3 -m pip install --force-reinstall spnas-search"


def _python() -> Iterator[Symptom]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST["python"]:
        yield Symptom("python", "error", found, "spnas needs Python 3.11 or newer")
    else:
        yield Symptom("python", "ok", f"{found}, {sys.executable}")


def _torch() -> Iterator[Symptom]:
    import torch

    numbers = tuple(int(part) for part in torch.__version__.partition("+")[0].split(".")[:2])
    if numbers < OLDEST["torch"]:
        yield Symptom("torch", "error", torch.__version__, "spnas needs torch 2.11 or newer: pip install 'torch>=2.11'")
    else:
        yield Symptom("torch", "ok", f"{torch.__version__}, built for CUDA {torch.version.cuda or 'no'}")


def _torchvision() -> Iterator[Symptom]:
    try:
        found = import_module("torchvision").__version__
    except Exception as error:  # noqa: BLE001 - of another torch, it raises what comes first
        remedy = "install the torchvision that belongs to this torch, both from one index"
        yield Symptom("torchvision", "error", f"does not import: {' '.join(str(error).split())}", remedy)
    else:
        yield Symptom("torchvision", "ok", found)


def _ours() -> Iterator[Symptom]:
    found = {}
    for name in OURS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Symptom("spnas", "error", f"{name} is not installed", f"python3 -m pip install {name}")
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{name} {number}" for name, number in found.items())
        yield Symptom("spnas", "warning", shown, "install all four of one version")
    elif found:
        yield Symptom("spnas", "ok", f"{', '.join(found)} {next(iter(found.values()))}")


def _kernels() -> Iterator[Symptom]:
    import torch

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        import spnas_kernels
        from spnas_kernels import _library
    if _library.mode() == "reference":
        yield Symptom("kernels", "warning", "turned off by SPNAS_KERNELS=reference", "unset SPNAS_KERNELS")
        return
    where = Path(spnas_kernels.__file__).parent
    for name, (library, without) in _LIBRARIES.items():
        problem = _library.problems.get(name)
        if name == "_cuda" and not torch.cuda.is_available():
            continue
        if problem is None:
            yield Symptom("kernels", "ok", f"{library}: native, from {where}")
        else:
            yield Symptom("kernels", "warning", f"{library}: {problem}; {without}", _library.BUILD_COMMAND)


_LIBRARIES = {
    "_cpu": ("operators on the CPU", "plain PyTorch computes, many times slower"),
    "_matching": ("matching for metrics", "plain NumPy computes, many times slower"),
    "_cuda": ("operators on CUDA", "plain PyTorch computes on the GPU; it is built where nvcc is"),
}


def _devices() -> Iterator[Symptom]:
    import torch

    cores = usable_cores()
    yield Symptom("devices", "ok", f"cpu: {cores} cores for this process, {torch.get_num_threads()} threads by default")
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        yield Symptom("devices", "ok", f"cuda:{number}: {card.name}, {card.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        remedy = "does nvidia-smi list it, and is torch built for CUDA? See https://pytorch.org/get-started"
        yield Symptom("devices", "warning", "there is an NVIDIA driver, and torch sees no GPU", remedy)


def _memory() -> Iterator[Symptom]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    values = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    free, cores = values["MemAvailable"], usable_cores()
    found = f"{free / 2**30:.1f} of {values['MemTotal'] / 2**30:.1f} GiB are free"
    if free < LITTLE_MEMORY * cores:
        yield Symptom("memory", "warning", found, "take fewer workers: --set executor.workers=1")
    else:
        yield Symptom("memory", "ok", found)


def _plugins() -> Iterator[Symptom]:
    for noun in nouns():
        registry(noun)  # what breaks while it registers is found by asking
    broken = broken_plugins()
    for one in broken:
        found = f"{one.name} of {one.distribution}: {one.reason}"
        yield Symptom("plugins", "warning", found, f"mend it, or: python3 -m pip uninstall {one.distribution}")
    yield Symptom("plugins", "ok", ", ".join(f"{name} ({owner})" for name, owner in plugin_origins().items()))


def _space(folder: Path) -> Iterator[Symptom]:
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    for name, where in (("runs", place), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(where).free
        found = f"{name} in {where}: {free / 2**30:.1f} GiB free"
        if not os.access(where, os.W_OK):
            yield Symptom("space", "error", f"{name} in {where}: it may not be written to", "choose another --out")
        elif free < LITTLE_SPACE:
            yield Symptom("space", "warning", found, "make room, or choose another --out")
        else:
            yield Symptom("space", "ok", found)
