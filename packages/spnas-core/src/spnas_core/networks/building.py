"""From an architecture to a network with fresh weights."""

from collections.abc import Sequence

import torch

from spnas_core.encoding import Architecture
from spnas_core.networks.backbone import Backbone


def build_backbone(
    architecture: Architecture | str,
    *,
    out_stages: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Build a backbone with fresh weights: He normal convolutions (fan out), batch norm γ = 1, β = 0.

    Args:
        architecture: the value or its text.
        out_stages: names of the stages to return (``s1``, …); all by default.
        generator: source of the random weights; torch's global one by default.
        device: where the weights live.

    Raises:
        CodeError: the text is no code, or the architecture has no such stage.
    """
    from spnas_core.inheritance import fill_module, fresh_plan

    if isinstance(architecture, str):
        architecture = Architecture.parse(architecture)
    backbone = Backbone(architecture, out_stages)
    fill_module(backbone, fresh_plan(backbone), {}, generator=generator, device=device)
    return backbone
