"""Blocks and stems built once per shape; every network gets copies.

A search builds thousands of networks out of a few hundred different blocks, and for a child that inherits, running the
constructors would take longer than copying its weights.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from spnas_core.blocks import BlockSpec, ConvLayer, described_layers
from spnas_core.errors import PluginError
from spnas_core.stems import StemSpec

# The spec is kept beside its module, so that its id names no other spec as long as the entry lives.
_prototypes: dict[tuple[int, ...], tuple[BlockSpec | StemSpec, nn.Module]] = {}


def instance(spec: BlockSpec | StemSpec, *sizes: int) -> nn.Module:
    """Return a new module of a spec on the meta device; ``spec.build(*sizes)`` runs once for each combination."""
    key = (id(spec), *sizes)
    if key not in _prototypes:
        layers = described_layers(spec, *sizes)
        # Whoever is first may be measuring: a prototype made in inference mode could never be trained by anybody.
        with torch.inference_mode(mode=False), torch.device("meta"):
            module = spec.build(*sizes)
        check_parts(spec, layers, module, sizes)
        _prototypes[key] = spec, module
    return copy_on_meta(_prototypes[key][1])


def check_parts(
    spec: BlockSpec | StemSpec, layers: Sequence[ConvLayer], module: nn.Module, sizes: Sequence[int]
) -> None:
    """Refuse a module whose tensors are not those of its description: no child could inherit from it.

    Raises:
        PluginError: naming the type and the first part that is missing or of another shape; or it is no module.
    """
    if not isinstance(module, nn.Module):
        raise PluginError(f"{spec.name!r} builds {module!r:.80} at sizes {', '.join(map(str, sizes))}, and no module")
    parameters = dict(module.named_parameters())
    wanted: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        wanted[f"{layer.module}.weight"] = layer.shape
        if layer.has_bias:
            wanted[f"{layer.module}.bias"] = (layer.out_channels,)
        if layer.norm is not None:
            wanted[f"{layer.norm}.weight"] = wanted[f"{layer.norm}.bias"] = (layer.out_channels,)
    silent = getattr(spec, "silent_norm", None)
    names = [*wanted, *([f"{silent}.weight", f"{silent}.bias"] if silent is not None else [])]
    for name in names:
        found = parameters.get(name)
        if found is None or tuple(found.shape) != wanted.get(name, tuple(found.shape)):
            wrong = "is missing" if found is None else f"has the shape {tuple(found.shape)} and not {wanted[name]}"
            raise PluginError(
                f"{spec.name!r} describes a module that it does not build: the parameter {name!r} {wrong} at sizes "
                f"{', '.join(map(str, sizes))}. Convolution and norm of a layer convN must be the modules convN and "
                "bnN, those of the projection projection.conv and projection.bn, and silent_norm must be one of them"
            )


def copy_on_meta(module: nn.Module) -> nn.Module:
    """Copy a module whose tensors are on the meta device: as ``copy.deepcopy``, in a fraction of its time."""
    return _copy_module(module, {})


def _copy_module(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    if id(module) in memo:
        known: nn.Module = memo[id(module)]
        return known
    copy = memo[id(module)] = object.__new__(type(module))
    attributes = copy.__dict__
    attributes.update(module.__dict__)
    for table, copy_entry in (("_modules", _copy_module), ("_parameters", _copy_tensor), ("_buffers", _copy_tensor)):
        attributes[table] = entries = attributes[table].copy()
        for name, entry in entries.items():
            if entry is not None:
                entries[name] = copy_entry(entry, memo)
    for name, value in attributes.items():
        if name in _TABLES or _is_plain(value):
            continue
        # Hook tables are nearly always empty; what is not may hold modules and tensors of this tree.
        attributes[name] = deepcopy(value, memo) if not isinstance(value, dict | set) or value else value.copy()
    return copy


def _copy_tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(tensor) not in memo:
        data = tensor.detach()
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(data, tensor.requires_grad) if is_parameter else data
    copy: Tensor = memo[id(tensor)]
    return copy


_TABLES = {"_modules", "_parameters", "_buffers"}
_IMMUTABLE = (bool, int, float, str, type(None))


def _is_plain(value: object) -> bool:
    """Whether copies may share a value: it holds no modules or tensors, and nobody can change it."""
    return isinstance(value, _IMMUTABLE) or (isinstance(value, tuple) and all(map(_is_plain, value)))
