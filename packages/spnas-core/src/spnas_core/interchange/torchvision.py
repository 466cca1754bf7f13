"""Names of torchvision's ResNets and ResNeXts, in both directions.

torchvision numbers blocks per stage (``layer2.0.conv1``) and we count along the whole sequence (``blocks.3.conv1``), so
the architecture's stages are needed to translate.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, WeightsError

_LEAVES = (("downsample.0.", "projection.conv."), ("downsample.1.", "projection.bn."))
_STEM = (("conv1.", "stem.conv1."), ("bn1.", "stem.bn1."))
_KNOWN = re.compile(r"b|r|x\d+x\d+d")


def _prefixes(architecture: Architecture) -> list[tuple[str, str]]:
    """Pairs of torchvision's prefix and ours, longest first where one begins another."""
    if architecture.stem != "conv7":
        raise WeightsError(f"{architecture} has the stem {architecture.stem!r}: torchvision's ResNets have conv7")
    if not _KNOWN.fullmatch(architecture.block):
        raise WeightsError(
            f"{architecture} has blocks {architecture.block!r}: torchvision's ResNets and ResNeXts have b, r and such "
            "as x32x4d"
        )
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


_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.conv1\.weight")


def torchvision_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Tell the code of a ResNet or ResNeXt from its tensors.

    Args:
        state: torchvision's tensors by name.

    Raises:
        WeightsError: they are of no network that has a code, such as a wide ResNet.
    """
    places = sorted((int(found[1]), int(found[2])) for name in state if (found := _BLOCK.fullmatch(name)))
    if not places:
        raise WeightsError("there are no tensors of a torchvision ResNet (layer1.0.conv1.weight, …)")
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    outputs = [_outputs(state, f"layer{stage}.{position}.{last}.weight") for stage, position in places]
    expansion = 4 if last == "conv3" else 1
    base = _outputs(state, "conv1.weight") if "conv1.weight" in state else outputs[0] // expansion
    before = [base * expansion, *outputs]
    digits = ["1" if after == one else "2" for one, after in zip(before, outputs, strict=False)]
    stages = [""] * places[-1][0]
    for (stage, _), digit in zip(places, digits, strict=True):
        stages[stage - 1] += digit
    text = f"{_block_name(state, outputs[0])}@{base}_{'-'.join(stages)}"
    try:
        return Architecture.parse(text)
    except CodeError as error:
        raise WeightsError(f"these tensors are of no network that has a code: {error}") from error


def _outputs(state: Mapping[str, Tensor], name: str) -> int:
    """Return how many channels a convolution gives.

    Raises:
        WeightsError: there is none of this name: a relative of a ResNet has other layers inside its blocks.
    """
    if name not in state or state[name].dim() != 4:
        found = f"has the shape {tuple(state[name].shape)}" if name in state else "is missing"
        raise WeightsError(f"these tensors are of no network that has a code: the convolution {name} {found}")
    return len(state[name])


def _block_name(state: Mapping[str, Tensor], first_output: int) -> str:
    if "layer1.0.conv3.weight" not in state:
        return "b"
    _outputs(state, "layer1.0.conv2.weight")
    width, of_group = state["layer1.0.conv2.weight"].shape[:2]
    base = first_output // 4
    if width == of_group:
        if width != base:
            raise WeightsError(f"these tensors are of a wide ResNet ({width} channels where {base} are usual): no code")
        return "r"
    return f"x{width // of_group}x{of_group * 64 // base}d"
