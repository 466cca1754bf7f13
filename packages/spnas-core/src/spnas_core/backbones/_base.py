"""The contract of whoever provides backbones by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


class LevelInfo(Protocol):
    """What a trunk says of its levels, in lists of one value each."""

    def channels(self) -> list[int]:
        """Channels of each level."""

    def reduction(self) -> list[int]:
        """Input pixels per feature pixel of each level."""


@dataclass(frozen=True)
class BackboneProvider:
    """A source of networks, as the plugins register it; ``PROVIDER:NAME`` is one of them.

    Attributes:
        summary: one line for listings.
        names: all names, in the order of listings.
        build: makes a network of a name, with the first values that its library gives it, drawn from torch's global
            generator: a module that maps Tensor[N, 3, H, W] to a list of levels, finest first, for H and W that are
            multiples of its coarsest reduction, and whose ``feature_info`` is a ``LevelInfo``. Levels finer than 4
            pixels are left aside; those at 4, 8, 16, … must be there without a gap. It need not set a device: under
            ``torch.device("meta")`` it may be built without memory.
        read: turns a ``state_dict`` of the library's whole network of a name into the trunk's tensors, names as the
            module has them; None where no weights can be read.
        missing: says what to install where the library is not there; None where it is.
        refusal: says why a name is none of ``names`` where the library knows it all the same, as the rest of a sentence
            that begins with it; None where there is nothing to say.
        has_equal_levels: whether levels of one reduction are stages each, as DetNet's; the last one alone otherwise.
    """

    summary: str
    names: Callable[[], Sequence[str]]
    build: Callable[[str], nn.Module]
    read: Callable[[str, Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None
    missing: Callable[[], str | None] = lambda: None
    has_equal_levels: bool = False
    refusal: Callable[[str], str | None] = lambda name: None  # noqa: ARG005 (called by position)
