"""What a network by name gives, against what it says: found once, on the meta device, before anybody uses it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.backbones._base import BackboneProvider, LevelInfo
from spnas_core.backbones.network import FixedNetwork
from spnas_core.errors import CodeError, SpnasError

FINEST = 4
"""Input pixels per feature pixel of ``s1``."""

WINDOWS = (1, 2, 7, 8, 12, 16)
"""Pixels of the coarsest level to whose multiples images are padded: the first that a network can take. All but 1 are
sides of windows, into which some transformers cut their features."""


def build_trunk(network: FixedNetwork) -> nn.Module:
    """Have the provider build it; a RuntimeError on the meta device is left to whoever can try it with memory.

    Raises:
        CodeError: its library cannot build it.
    """
    try:
        return network.source.build(network.name)
    except SpnasError:
        raise
    except Exception as error:  # whatever the library says
        if isinstance(error, RuntimeError) and torch.get_default_device().type == "meta":
            raise
        raise CodeError(f"{network} gives no features: {_told(error)}") from error


def canvas_unit(network: FixedNetwork) -> int:
    """Return the pixels to whose multiples an image is padded, so that all levels are as the network says.

    Raises:
        CodeError: it gives other levels than it says, or takes none but images of one size.
    """
    return _canvas_unit(network, network.source)


@lru_cache(maxsize=256)
def _canvas_unit(network: FixedNetwork, source: BackboneProvider) -> int:
    del source  # part of the key: another one may be registered under the name
    trunk = _blank_trunk(network).eval()
    coarsest = max(cast("LevelInfo", trunk.feature_info).reduction())
    faults = []
    for window in WINDOWS:
        unit = window * coarsest
        fault = _fault(trunk, 2 * unit, 3 * unit)
        if fault is None:
            return unit
        faults.append(fault)
    raise CodeError(f"{network} cannot be a backbone, which takes images of any size: {faults[0]}")


def _blank_trunk(network: FixedNetwork) -> nn.Module:
    try:
        with torch.device("meta"):
            return build_trunk(network)
    except RuntimeError:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return build_trunk(network).to("meta")


def _fault(trunk: nn.Module, height: int, width: int) -> str | None:
    """Say what is wrong with the levels of an image of this size; None where they are as announced."""
    info = cast("LevelInfo", trunk.feature_info)
    image = f"of one of {width}x{height} pixels"
    try:
        with torch.no_grad():
            levels: Sequence[Tensor] = trunk(torch.empty(1, 3, height, width, device="meta"))
        sizes = [tuple(level.shape) for level in levels]
    except Exception as error:  # noqa: BLE001 (whatever the library says)
        return f"{image} it gives no features ({_told(error)})"
    if len(sizes) != len(info.reduction()):
        return f"{image} it gives {len(sizes)} levels where it says {len(info.reduction())}"
    for found, channels, reduction in zip(sizes, info.channels(), info.reduction(), strict=True):
        announced = (1, channels, height // reduction, width // reduction)
        if reduction >= FINEST and found != announced:
            return f"{image} it gives features {list(found)} where it says {list(announced)}"
    return None


def _told(error: Exception) -> str:
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
