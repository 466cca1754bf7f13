"""Giving a module the tensors of another one."""

from collections.abc import Callable

from torch import nn

Lookup = Callable[[str], str | None]
"""From a tensor's name in the one module to that in the other; None where it has none."""


def share_tensors(view: nn.Module, source: nn.Module, lookup: Lookup) -> list[str]:
    """Let a module compute with another one's tensors: the same objects, so that gradients and updates reach them.

    Convolutions keep their own stride and take the weights, as does whatever consists of further layers; every other
    layer with tensors is the source's layer itself, whatever kind of norm it has become.

    Args:
        view: on the meta device; changed in place.
        source: has the tensors.
        lookup: finds them.

    Returns:
        Names of the view's tensors that the source does not have in that shape; they stay as they are.
    """
    layers, missing = dict(source.named_modules()), list[str]()
    for path, layer in list(view.named_modules()):
        own = {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}
        for leaf, tensor in own.items():
            name = f"{path}.{leaf}" if path else leaf
            owner, _, attribute = (lookup(name) or "").rpartition(".")
            shared = getattr(layers.get(owner), attribute, None) if attribute else None
            if shared is None or shared.shape != tensor.shape:
                missing.append(name)
            elif not path or isinstance(layer, nn.Conv2d | nn.Linear) or any(layer.children()):
                setattr(layer, leaf, shared)
            else:
                parent, _, place = path.rpartition(".")
                setattr(view.get_submodule(parent), place, layers[owner])
                break
    return missing
