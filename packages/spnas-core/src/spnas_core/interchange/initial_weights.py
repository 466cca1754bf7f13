"""Weights that a search or a training starts from, in the names of a detector. Needs ``spnas-core[commands]``."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, WeightsError
from spnas_core.interchange.torchvision import from_torchvision, torchvision_architecture
from spnas_core.morphisms import Rewrite, align
from spnas_core.networks import Backbone

BACKBONE = "backbone."

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Of batch norm: weights that were trained with another norm lack them, and they start anew."""


DESCRIPTION = "spnas"
"""Entry of a safetensors file's metadata that says what it holds: JSON with ``architecture`` among its keys."""


@dataclass(frozen=True)
class InitialWeights:
    """Weights from outside.

    Attributes:
        architecture: that they are of.
        tensors: named as a detector's: ``backbone.…`` and, where the file has more, all else.
    """

    architecture: Architecture
    tensors: dict[str, Tensor]

    def rewrite(self, child: Architecture) -> Rewrite:
        """What an architecture inherits from them: see ``align``.

        Raises:
            WeightsError: its block type or stem differs.
        """
        try:
            return align(self.architecture, child)
        except CodeError as error:
            raise WeightsError(f"the weights to start from are of {self.architecture}: {error}") from None


def read_initial_weights(source: str, architecture: Architecture) -> InitialWeights:
    """Read weights from outside, of an architecture or of one near it.

    Args:
        source: ``torchvision:FILE`` (a ``state_dict`` of a ResNet or ResNeXt saved by torch) or ``FILE.safetensors`` (a
            detector's weights or a backbone's alone).
        architecture: that is to start with them. Which one the file is of is told by its tensors (torchvision) or by
            what it says of itself; where it says nothing it must be this one.

    Raises:
        WeightsError: the file cannot be read, is not what it says, or its network has another block type or stem.
    """
    kind, colon, path = source.partition(":")
    if colon and kind == "torchvision":
        state = _read_torch(Path(path))
        own = torchvision_architecture({name: state[name] for name in state if not name.startswith("fc.")})
        tensors = {BACKBONE + name: tensor for name, tensor in from_torchvision(own, state).items()}
    elif source.endswith(".safetensors"):
        tensors, said = _read_safetensors(Path(source))
        own = architecture if said is None else said
        if not any(name.startswith(BACKBONE) for name in tensors):
            tensors = {BACKBONE + name: tensor for name, tensor in tensors.items()}
    else:
        raise WeightsError(f"init {source!r} must be torchvision:FILE or FILE.safetensors")
    _check_fits(source, own, tensors)
    found = InitialWeights(own, tensors)
    found.rewrite(architecture)
    return found


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path} is no state_dict that loads without executing code: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state_dict: save model.state_dict() with torch.save")
    return state


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Architecture | None]:
    """Read the tensors, and the architecture that the file says it is of."""
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            text = (file.metadata() or {}).get(DESCRIPTION)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no complete safetensors file: {error}") from error
    try:
        return tensors, None if text is None else Architecture.parse(str(json.loads(text)["architecture"]))
    except (ValueError, KeyError, TypeError) as error:  # a CodeError is a ValueError
        raise WeightsError(f"what {path} says of itself cannot be read: {error}") from error


def _check_fits(source: str, architecture: Architecture, tensors: dict[str, Tensor]) -> None:
    expected = Backbone(architecture).state_dict()
    differing = [
        f"{name} ({'missing' if found is None else tuple(found.shape)} instead of {tuple(tensor.shape)})"
        for name, tensor in expected.items()
        if ((found := tensors.get(BACKBONE + name)) is None and not name.endswith(STATISTICS))
        or (found is not None and found.shape != tensor.shape)
    ]
    if differing:
        raise WeightsError(
            f"{source} does not fit {architecture}: {len(differing)} tensors differ, first {'; '.join(differing[:5])}"
        )
