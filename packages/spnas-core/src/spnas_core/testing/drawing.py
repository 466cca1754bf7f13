"""Random small architectures without hypothesis, for the contract suites."""

import numpy as np
import torch

from spnas_core.encoding import Architecture
from spnas_core.networks import Backbone, build_backbone


def random_architecture(
    rng: np.random.Generator, *, block: str = "b", base: int = 4, rows: bool = True
) -> Architecture:
    """Draw a network of two to four stages that runs in milliseconds.

    Args:
        rng: source of chance.
        block: registered name of its block type.
        base: channels of the first stage before expansion.
        rows: whether rows may run beside its stages.
    """
    stages = ["1" * int(rng.integers(1, 4)) for _ in range(int(rng.integers(2, 5)))]
    digits = list("-".join(stages))
    places = [place for place, digit in enumerate(digits) if digit == "1"]
    for place in rng.choice(places, int(rng.integers(0, 4)) % len(places), replace=False):
        digits[place] = "2"
    serial = tuple("".join(digits).split("-"))
    counts = tuple(int(count) for count in rng.integers(0, 3, len(serial))) if rows and rng.random() < 0.5 else ()
    return Architecture(block, serial, base, "deep", counts, shares_rows=bool(rng.random() < 0.5))


@torch.no_grad()
def uneven_backbone(architecture: Architecture, seed: int) -> Backbone:
    """Build a backbone, in evaluation mode, whose norms are as uneven as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    backbone = build_backbone(architecture, generator=generator)
    for name, tensor in backbone.state_dict().items():
        if tensor.ndim == 1:
            low, high = (0.4, 1.4) if name.endswith(("weight", "running_var")) else (-0.3, 0.3)
            tensor.uniform_(low, high, generator=generator)
    return backbone.eval()


def random_images(seed: int, count: int = 4, side: int = 64) -> torch.Tensor:
    """Draw Tensor[count, 3, side, side]."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
