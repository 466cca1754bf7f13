"""Names of torchvision's ResNets and ResNeXts, in both directions.

torchvision numbers blocks per stage (``layer2.0.conv1``) and we count along the whole sequence (``blocks.3.conv1``), so
the architecture's stages are needed to translate.
"""

from collections.abc import Mapping

from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.errors import WeightsError

_LEAVES = (("downsample.0.", "projection.conv."), ("downsample.1.", "projection.bn."))
_STEM = (("conv1.", "stem.conv1."), ("bn1.", "stem.bn1."))


def _prefixes(architecture: Architecture) -> list[tuple[str, str]]:
    """Pairs of torchvision's prefix and ours, longest first where one begins another."""
    if architecture.stem != "conv7":
        raise WeightsError(f"{architecture} has the stem {architecture.stem!r}: torchvision's ResNets have conv7")
    pairs, index = list(_STEM), 0
    for number, stage in enumerate(architecture.stages, 1):
        for position in range(len(stage)):
            theirs, ours = f"layer{number}.{position}.", f"blocks.{index}."
            pairs += [(theirs + a, ours + b) for a, b in _LEAVES] + [(theirs, ours)]
            index += 1
    return pairs


def from_torchvision(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a torchvision ``state_dict`` to the names of Backbone; the classifier ``fc`` is left out.

    Args:
        architecture: the code whose stages the state has, for example ``b_11-21-21-21`` for resnet18.
        state: torchvision's tensors by name.

    Raises:
        WeightsError: a tensor of a block that the architecture does not have.
    """
    pairs = _prefixes(architecture)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("fc."):
            continue
        ours = next((new + name.removeprefix(old) for old, new in pairs if name.startswith(old)), None)
        if ours is None:
            raise WeightsError(
                f"torchvision's {name!r} has no place in {architecture}: give the code of the same network"
            )
        renamed[ours] = tensor
    return renamed


def to_torchvision(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a Backbone's ``state_dict`` to torchvision's names; there is no classifier in it.

    Args:
        architecture: the code of the backbone.
        state: our tensors by name.

    Raises:
        WeightsError: the stem is not torchvision's, or a name is not one of Backbone's.
    """
    pairs = _prefixes(architecture)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        theirs = next((old + name.removeprefix(new) for old, new in pairs if name.startswith(new)), None)
        if theirs is None:
            raise WeightsError(f"{name!r} is no tensor of {architecture}")
        renamed[theirs] = tensor
    return renamed
