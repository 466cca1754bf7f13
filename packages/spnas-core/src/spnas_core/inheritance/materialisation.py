"""From a module on the meta device and a plan to a module with weights, every tensor written exactly once."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spnas_core.inheritance.channels import ChannelMaps, norm_scales
from spnas_core.inheritance.copying import WeightCopier, copy_weights_
from spnas_core.inheritance.initialisation import fill_
from spnas_core.inheritance.plan import InheritancePlan, TensorFill, plan_inheritance, tensor_shapes
from spnas_core.inheritance.receipt import Receipt, write_receipt
from spnas_core.morphisms import Rewrite
from spnas_core.networks.backbone import Backbone


def fill_module(
    module: nn.Module,
    plan: InheritancePlan,
    tensors: Mapping[str, Tensor],
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    copier: WeightCopier = copy_weights_,
    own: Mapping[str, Tensor] | None = None,
) -> None:
    """Allocate a meta module's tensors and write them as the plan says.

    Args:
        module: all parameters and buffers on the meta device; changed in place, everything trainable.
        plan: must name every tensor of the module, as a copy, a fill, or both for a partial copy.
        tensors: the parent's, by the plan's source names.
        generator: source of random first values.
        device: where the weights shall live.
        copier: what executes the copies.
        own: by name, the values of fills whose kind is ``own``, and of buffers that no file keeps.

    Raises:
        ValueError: a tensor of the module that the plan does not name.
    """
    state = _allocate(module, torch.device(device))
    unnamed = state.keys() - {copy.target for copy in plan.copies} - {fill.target for fill in plan.fills}
    if unnamed:
        raise ValueError(f"the plan leaves {len(unnamed)} tensors without values, {min(unnamed)!r} among them")
    for name, values in (own or {}).items():
        if name not in state:
            module.get_buffer(name).copy_(values)
    for fill in plan.fills:
        _fill(state[fill.target], fill, generator, own or {})
    destinations, sources = [], []
    for copy in plan.copies:
        destination, source = state[copy.target], tensors[copy.source]
        if copy.rows is not None:
            rows = torch.tensor(copy.rows, dtype=torch.int64).reshape(-1, 2)
            destination[rows[:, 0].to(destination.device)] = source[rows[:, 1]].to(destination)
            continue
        if copy.route is not None:
            source = copy.route.apply(source)
        if copy.overlap:
            destination, source = _overlap(destination, source)
        destinations.append(destination)
        sources.append(source)
    copier(destinations, sources)


def _overlap(destination: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of two tensors that stand for one another: the leading channels, and of kernels the middle.

    What a larger kernel has around that is set to zero, so that it computes what the smaller one does.
    """
    shared = [min(a, b) for a, b in zip(destination.shape, source.shape, strict=True)]
    channels, kernel = shared[:2], shared[2:]
    inner = destination[tuple(slice(count) for count in channels)]
    if kernel != list(destination.shape[2:]):
        inner.zero_()

    def middle(tensor: Tensor) -> Tensor:
        starts = [(side - count) // 2 for side, count in zip(tensor.shape[2:], kernel, strict=True)]
        places = (slice(first, first + count) for first, count in zip(starts, kernel, strict=True))
        return tensor[(*(slice(count) for count in channels), *places)]

    return middle(destination), middle(source)


def _fill(tensor: Tensor, fill: TensorFill, generator: torch.Generator | None, own: Mapping[str, Tensor]) -> None:
    if fill.init.kind == "own":
        tensor.copy_(own[fill.target])
    elif fill.route is None:
        fill_(tensor, fill.init, generator)
    else:
        tensor.copy_(fill.route.pass_through(tensor))


def _allocate(module: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Replace all meta tensors by uninitialised ones and return them by name.

    As ``Module.to_empty``, which goes through Python decompositions for every tensor and takes many times as long.
    """
    state: dict[str, Tensor] = {}
    for prefix, owner in module.named_modules():
        dot = f"{prefix}." if prefix else ""
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
                owner._parameters[name] = nn.Parameter(empty, parameter.requires_grad)
                state[dot + name] = empty
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                empty = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
                owner._buffers[name] = empty
                if name not in owner._non_persistent_buffers_set:
                    state[dot + name] = empty
    return state


def materialise(
    rewrite: Rewrite,
    parent_tensors: Mapping[str, Tensor],
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    copier: WeightCopier = copy_weights_,
    seed: int = 0,
) -> tuple[Backbone, Receipt]:
    """Build a child backbone with the weights that it inherits.

    Args:
        rewrite: parent, child and block map.
        parent_tensors: the parent's ``state_dict()``; what is missing in it starts anew.
        generator: source of first values of new tensors.
        device: where the child's weights shall live.
        copier: what executes the copies.
        seed: of the channel maps; see ``ChannelMaps``.
    """
    backbone = Backbone(rewrite.child)
    parent_shapes = {name: tensor.shape for name, tensor in parent_tensors.items()}
    maps = ChannelMaps(rewrite, seed, norm_scales(parent_tensors))
    plan = plan_inheritance(rewrite, tensor_shapes(backbone), parent_shapes, maps)
    fill_module(backbone, plan, parent_tensors, generator=generator, device=device, copier=copier)
    return backbone, write_receipt(backbone, plan)
