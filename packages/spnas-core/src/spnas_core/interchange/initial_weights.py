"""Weights that a search or a training starts from, in the names of a detector. Needs ``spnas-core[commands]``."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.errors import WeightsError
from spnas_core.interchange.torchvision import from_torchvision
from spnas_core.networks import Backbone

BACKBONE = "backbone."

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Of batch norm: weights that were trained with another norm lack them, and they start anew."""


def read_initial_weights(source: str, architecture: Architecture) -> dict[str, Tensor]:
    """Read weights from outside, named as a detector's: ``backbone.…`` and, where the file has more, all else.

    Args:
        source: ``torchvision:FILE`` (a ``state_dict`` saved by torch) or ``FILE.safetensors`` (a detector's weights
            or a backbone's alone).
        architecture: that they must fit.

    Raises:
        WeightsError: the file cannot be read, or holds another network; the first differing tensors are named.
    """
    kind, colon, path = source.partition(":")
    if colon and kind == "torchvision":
        tensors = {
            BACKBONE + name: tensor for name, tensor in from_torchvision(architecture, _read_torch(Path(path))).items()
        }
    elif source.endswith(".safetensors"):
        tensors = _read_safetensors(Path(source))
        if not any(name.startswith(BACKBONE) for name in tensors):
            tensors = {BACKBONE + name: tensor for name, tensor in tensors.items()}
    else:
        raise WeightsError(f"init {source!r} must be torchvision:FILE or FILE.safetensors")
    _check_fits(source, architecture, tensors)
    return tensors


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


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no complete safetensors file: {error}") from error
    return tensors


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
