"""Weights files: safetensors, read without executing anything."""

import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spnas_core.errors import WeightsError

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, object]) -> None:
    """Write all parameters and buffers of a module.

    Args:
        module: the detector; it may live on any device.
        path: of the file; written in place, so give a temporary one where others may read.
        metadata: what the file says of itself, such as the architecture; stored as JSON under ``spnas``.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_tensors(tensors, path, metadata)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, object]) -> None:
    """Write CPU tensors, and what the file says of itself as JSON under ``spnas``.

    Raises:
        OSError: the file cannot be written, as from a full disk, for which safetensors has an exception of its own.
    """
    try:
        # One entry of metadata: safetensors writes several in an order that differs from run to run.
        save_file(dict(tensors), path, metadata={"spnas": json.dumps(metadata, sort_keys=True)})
    except SafetensorError as error:
        number = _SYSTEM_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file into CPU tensors by name.

    Raises:
        WeightsError: the file is missing, or is no complete safetensors file.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (SafetensorError, OSError, struct.error, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is no complete safetensors file ({error}): write or fetch it again") from error
    return tensors
