"""First values of tensors that inherit nothing."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

InitKind = Literal[
    "zeros", "centred", "ones", "dirac", "he-normal", "xavier-uniform", "delta-orthogonal", "normal", "constant", "own"
]


@dataclass(frozen=True)
class Init:
    """How a new tensor starts.

    Attributes:
        kind: ``he-normal`` is He et al. 2015 with fan out and ReLU gain; ``xavier-uniform`` is the uniform form with
            variance 1 / fan in that Caffe2 used for FPN and fully connected layers; ``delta-orthogonal`` is a random
            orthogonal matrix at the kernel's centre and zero around it, so that a convolution turns its input without
            loss (Xiao et al. 2018), scaled so that outputs have inputs' mean square on average; ``dirac`` makes a
            convolution pass its input through; ``centred`` are zeros until somebody has seen what a layer puts out on
            average, and lets its bias take that away; ``own`` are the values that another library has made, which
            ``fill_module`` is given.
        std: standard deviation of ``normal``.
        value: of ``constant``.
    """

    kind: InitKind
    std: float = 0.0
    value: float = 0.0


ZEROS = Init("zeros")
ONES = Init("ones")
DIRAC = Init("dirac")
HE_NORMAL = Init("he-normal")
XAVIER_UNIFORM = Init("xavier-uniform")
OWN = Init("own")


@torch.no_grad()
def fill_(tensor: Tensor, init: Init, generator: torch.Generator | None = None) -> None:
    """Write first values into a tensor.

    Args:
        tensor: of any shape; ``dirac`` wants a Tensor[C, C, k, k] of one group, k odd, and ``delta-orthogonal`` a
            Tensor[C_out, C_in, k, k] likewise.
        init: what to write.
        generator: source of random values; torch's global one by default.
    """
    match init.kind:
        case "zeros" | "centred":
            tensor.zero_()
        case "ones":
            tensor.fill_(1)
        case "dirac":
            tensor.zero_()
            tensor[:, :, tensor.shape[2] // 2, tensor.shape[3] // 2].fill_diagonal_(1)
        case "he-normal":
            nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu", generator=generator)
        case "xavier-uniform":
            nn.init.kaiming_uniform_(tensor, a=1, generator=generator)
        case "delta-orthogonal":
            turn = nn.init.orthogonal_(torch.empty_like(tensor[:, :, 0, 0]), generator=generator)
            tensor.zero_()
            tensor[:, :, tensor.shape[2] // 2, tensor.shape[3] // 2] = turn * (len(turn) ** 0.5 / turn.norm())
        case "normal":
            tensor.normal_(0.0, init.std, generator=generator)
        case "constant":
            tensor.fill_(init.value)
