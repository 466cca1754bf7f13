"""Weights that a search starts from, brought into the form that candidates inherit from."""

from pathlib import Path

from safetensors.torch import save_file

from spnas_core.durable import replace_durably
from spnas_core.encoding import Architecture
from spnas_core.interchange.initial_weights import read_initial_weights


def import_weights(source: str, architecture: Architecture, target: Path) -> None:
    """Read weights from outside and write them as a candidate's file.

    Args:
        source: ``torchvision:FILE`` or ``FILE.safetensors``; see ``read_initial_weights``.
        architecture: the start of the search.
        target: file to write.

    Raises:
        WeightsError: the file cannot be read, or holds another network; the first differing tensors are named.
    """
    tensors = read_initial_weights(source, architecture)
    temporary = target.with_name(f".{target.name}.new")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    replace_durably(temporary, target)
