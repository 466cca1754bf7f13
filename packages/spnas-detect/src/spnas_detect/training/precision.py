"""Which precision the forward pass runs in."""

import torch


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Say whether the forward pass runs under bfloat16 autocast."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
