"""Weights that a search starts from, brought into the form that candidates inherit from."""

from pathlib import Path
from typing import cast

from safetensors.torch import save_file

from spnas_core.durable import replace_durably
from spnas_core.encoding import Architecture
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.morphisms import Rewrite


def import_weights(source: str, architecture: Architecture, target: Path) -> None:
    """Read weights from outside and write them as a candidate's file, which says what they are of.

    Args:
        source: ``torchvision:FILE`` or ``FILE.safetensors``; see ``read_initial_weights``.
        architecture: the start of the search.
        target: file to write.

    Raises:
        WeightsError: the file cannot be read, or its network has another block type or stem than the start.
    """
    found = read_initial_weights(source, architecture)
    temporary = target.with_name(f".{target.name}.new")
    tensors = {name: tensor.contiguous() for name, tensor in found.tensors.items()}
    save_file(tensors, temporary, found.metadata())
    replace_durably(temporary, target)


def initial_rewrite(file: Path, architecture: Architecture) -> Rewrite:
    """Say how the start inherits what ``import_weights`` has written; the identity where that is its own."""
    return cast("Rewrite", read_initial_weights(str(file), architecture).rewrite(architecture))
