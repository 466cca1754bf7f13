"""From an architecture to a network with fresh weights."""

import torch

from spnas_core.encoding import Architecture
from spnas_core.networks.serial import SerialBackbone


def build_backbone(
    architecture: Architecture | str,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> SerialBackbone:
    """Build a backbone with fresh weights: He normal convolutions (fan out), batch norm γ = 1, β = 0.

    Args:
        architecture: the value or its text.
        generator: source of the random weights; torch's global one by default.
        device: where the weights live.

    Raises:
        CodeError: the text is no code, or asks for what SerialBackbone does not build.
    """
    from spnas_core.inheritance import fill_module, fresh_plan

    if isinstance(architecture, str):
        architecture = Architecture.parse(architecture)
    with torch.device("meta"):
        backbone = SerialBackbone(architecture)
    fill_module(backbone, fresh_plan(backbone), {}, generator=generator, device=device)
    return backbone
