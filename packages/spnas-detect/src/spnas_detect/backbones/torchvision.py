"""torchvision's classification networks: ``torchvision:NAME``.

A network is a chain of modules; of those with features of one size the last one's are a level. What widens the last
features for the classifier alone is left out.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import cast, get_type_hints

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchvision import models

from spnas_core.backbones import BackboneProvider
from spnas_core.interchange.differences import check_same
from spnas_core.networks import FeatureInfo, StageInfo

PROBE = 256
"""Pixels of the image that shows the levels' sizes."""

Chain = Callable[[nn.Module], Iterable[nn.Module]]


def _parts(*names: str) -> Chain:
    """Sub-modules in the order in which they are computed; those of a sequence one by one."""

    def chain(model: nn.Module) -> Iterable[nn.Module]:
        for name in names:
            part = model.get_submodule(name)
            yield from part if isinstance(part, nn.Sequential) and name in _OPENED else [part]

    return chain


def _but_last(count: int, chain: Chain) -> Chain:
    return lambda model: list(chain(model))[:-count]


_OPENED = frozenset({"features", "layers", "trunk_output"})
_RESNET = _parts("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")

CHAINS: Mapping[type[nn.Module], Chain] = {
    models.ResNet: _RESNET,
    models.RegNet: _parts("stem", "trunk_output"),
    models.VGG: _parts("features"),
    models.DenseNet: _parts("features"),
    models.ConvNeXt: _parts("features"),
    models.MobileNetV2: _but_last(1, _parts("features")),
    models.MobileNetV3: _parts("features"),
    models.EfficientNet: _but_last(1, _parts("features")),
    models.MNASNet: _but_last(3, _parts("layers")),
    models.ShuffleNetV2: _parts("conv1", "maxpool", "stage2", "stage3", "stage4"),
    models.SwinTransformer: _parts("features"),
}
"""How the families are computed; only these give features. MobileNetV3's last convolution is a part of its trunk."""

CHANNELS_LAST = frozenset({models.SwinTransformer})
"""Families whose parts hand on Tensor[N, H, W, C]."""


class Trunk(nn.Module):
    """A network of torchvision without its classifier; the tensors keep their names.

    Args:
        model: the whole network, on any device.
        chain: how it is computed.
    """

    def __init__(self, model: nn.Module, chain: Chain) -> None:
        super().__init__()
        parts = list(chain(model))
        names = {part: name for name, part in model.named_modules()}
        self._parts = [names[part] for part in parts]
        self._is_channels_last = type(model) in CHANNELS_LAST
        found = _found_levels([part.eval() for part in parts], self._channels_first)
        model.train()
        self._taken = frozenset(place for place, _, _ in found)
        self.feature_info = FeatureInfo([StageInfo(names[parts[place]], *sizes) for place, *sizes in found])
        self.body = _pruned(model, {one for part in parts for one in part.modules()})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map Tensor[N, 3, H, W] to a list of features, finest first."""
        levels, x = [], images
        for place, name in enumerate(self._parts):
            x = self.body.get_submodule(name)(x)
            if place in self._taken:
                levels.append(self._channels_first(x))
        return levels

    def _channels_first(self, features: Tensor) -> Tensor:
        return features.movedim(-1, 1) if self._is_channels_last else features


def _pruned(module: nn.Module, kept: Collection[nn.Module]) -> nn.Module:
    """Return what is in the chain, under the same names: what is left counts and is trained."""
    found = nn.Module()  # and not the class itself, which may have its own way to load
    for name, child in module.named_children():
        if child in kept:
            found.add_module(name, child)
        elif any(part in kept for part in child.modules()):
            found.add_module(name, _pruned(child, kept))
    return found


def _found_levels(parts: Iterable[nn.Module], channels_first: Callable[[Tensor], Tensor]) -> list[tuple[int, int, int]]:
    """Return (place in the chain, channels, reduction) of the last features of each size; nothing is computed."""
    last: dict[int, tuple[int, int, int]] = {}
    x = torch.empty(1, 3, PROBE, PROBE, device="meta")
    with torch.no_grad():
        for place, part in enumerate(parts):
            tensors = {name: torch.empty_like(one, device="meta") for name, one in part.state_dict().items()}
            x = functional_call(part, tensors, (x,))
            _, channels, _, width = channels_first(x).shape
            reduction = PROBE // width
            last[reduction] = place, channels, reduction
    return [last[reduction] for reduction in sorted(last)]


@cache
def names() -> Sequence[str]:
    """Names of the families that give features."""
    return tuple(name for name, family in _families().items() if family in CHAINS)


@cache
def _families() -> Mapping[str, type[nn.Module]]:
    """All of torchvision's names, and what they build."""
    known = models.list_models(module=models)
    return {name: get_type_hints(models.get_model_builder(name))["return"] for name in known}


def refusal(name: str) -> str | None:
    """Say of what family a network is that gives no features."""
    family = _families().get(name)
    return None if family is None else f"is a {family.__name__}, of which no features are known"


def build(name: str) -> nn.Module:
    """Make the trunk of a name, with torchvision's first values."""
    model = cast("nn.Module", models.get_model(name, weights=None))
    return Trunk(model, CHAINS[_families()[name]])


def read(name: str, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the whole network's tensors into those of its trunk.

    Raises:
        WeightsError: they are of another network; the first five tensors that differ.
    """
    whole = cast("nn.Module", models.get_model(name, weights=None))
    check_same(f"torchvision:{name}", whole.state_dict(), state)
    trunk = build(name)
    return {f"trunk.{key}": state[key.removeprefix("body.")] for key in trunk.state_dict()}


TORCHVISION = BackboneProvider("torchvision's classification networks", names, build, read, refusal=refusal)
