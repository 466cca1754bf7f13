"""From a weights file to a detector that detects."""

from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor

from spnas_core.backbones import read_network, unchanged
from spnas_core.errors import WeightsError, suggestion
from spnas_core.interchange.differences import differing_tensors, told
from spnas_detect.detectors._base import Detector
from spnas_detect.detectors.building import build_detector
from spnas_detect.detectors.description import DetectorDescription, read_description
from spnas_detect.devices import choose_device
from spnas_detect.training.norms import NormKind, convert_norms
from spnas_detect.training.weights import load_weights


def load_detector(path: Path | str, device: torch.device | str = "auto") -> tuple[Detector, DetectorDescription]:
    """Build the detector that a weights file describes, with the file's weights.

    Args:
        path: a file that a search or ``spnas train`` has written.
        device: where the detector shall live; ``auto`` is CUDA where there is one.

    Returns:
        The detector (also an ``nn.Module``) in evaluation mode and channels-last, and what the file says of it.

    Raises:
        WeightsError: the file is missing or damaged, does not describe a detector, or holds other tensors than the one
            that it describes; the first five are named.
        ConfigError: the device is not there.
        PluginError: the neck or the detector is not registered.
    """
    path = Path(path)
    device = choose_device(device) if isinstance(device, str) else device
    description = read_description(path)
    tensors = {name: _full_precision(tensor) for name, tensor in load_weights(path).items()}
    # What the file has is copied and never initialised; what differs is found below.
    module, _, _ = build_detector(
        unchanged(read_network(description.architecture)),
        len(description.classes),
        description.detector,
        tensors,
        generator=torch.Generator().manual_seed(0),
    )
    if description.norm not in get_args(NormKind):
        raise WeightsError(
            f"{path} was trained with the norm {description.norm!r}, which this version does not know"
            f"{suggestion(description.norm, get_args(NormKind))}"
        )
    convert_norms(module, cast("NormKind", description.norm))
    if description.is_shared:  # what other parts need
        tensors = {name: tensor for name, tensor in tensors.items() if name in module.state_dict()}
    differing = differing_tensors(module.state_dict(), tensors, "detector")
    if differing:
        raise WeightsError(
            f"{path} does not fit the {description.detector.detector} on {description.architecture} that it describes: "
            f"{told(differing)}"
        )
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return cast("Detector", module.eval()), description


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
