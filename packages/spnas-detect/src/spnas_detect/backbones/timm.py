"""timm's networks: ``timm:NAME``, for the names of ``timm.list_models()`` that give features.

Without timm there is no such backbone: ``pip install 'spnas-detect[timm]'``.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from spnas_core.backbones import BackboneProvider
from spnas_core.interchange.differences import check_same

INSTALL = "python3 -m pip install 'spnas-detect[timm]'"

RAW = ("hrnet",)
"""Families whose detectors read the raw branches, and not what the classifier makes of them (Sun et al. 2019,
HRNetV2p)."""

ANY_CANVAS = ("swin",)
"""Families that take images of one size alone, unless they are told otherwise."""

CHANNELS_LAST = "NHWC"
"""The layout of what some families give."""


class Trunk(nn.Module):
    """A feature extractor of timm.

    Args:
        body: as ``timm.create_model(…, features_only=True)`` makes it.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.feature_info = body.feature_info
        self._is_channels_last = getattr(body, "output_fmt", None) == CHANNELS_LAST

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map Tensor[N, 3, H, W] to a list of features, finest first."""
        features: list[Tensor] = self.body(images)
        if self._is_channels_last:
            return [level.movedim(-1, 1) for level in features]
        return features


@cache
def names() -> Sequence[str]:
    """All of timm's names."""
    import timm

    return tuple(timm.list_models())


def refusal(name: str) -> str | None:
    """Tell names of weights, ``resnet50.a1_in1k`` or the Hub's ``timm/resnet50.a1_in1k``, from those of networks."""
    base = name.rpartition("/")[2].partition(".")[0]
    if base not in names():
        return None
    return f"names weights, and none are downloaded: take timm:{base}, and --init timm:FILE for a file with them"


def build(name: str) -> nn.Module:
    """Make the feature extractor of a name, with timm's first values."""
    return Trunk(_created(name))


def _created(name: str) -> nn.Module:
    import timm

    options: dict[str, Any] = {"feature_location": ""} if name.startswith(RAW) else {}
    if name.startswith(ANY_CANVAS):
        options["strict_img_size"] = False
    body: nn.Module = timm.create_model(name, features_only=True, **options)
    return body


def read(name: str, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the whole network's tensors into those of its feature extractor.

    Raises:
        WeightsError: they are of another network; the first five tensors that differ.
    """
    import timm

    whole = timm.create_model(name)
    check_same(f"timm:{name}", whole.state_dict(), state)
    whole.load_state_dict(dict(state))
    body = _created(name)
    sources = {_flat(key): tensor for key, tensor in whole.state_dict().items()}
    return {f"trunk.body.{key}": sources[_flat(key)] for key in body.state_dict()}


def _flat(name: str) -> str:
    """Extractors take stages out of their lists: ``blocks.0.1.conv.weight`` is ``blocks_0.1.conv.weight`` there."""
    return name.replace(".", "_")


def missing() -> str | None:
    """Say how timm is installed; None where it is."""
    return None if find_spec("timm") else INSTALL


TIMM = BackboneProvider("the networks of timm (extra spnas-detect[timm])", names, build, read, missing, refusal=refusal)
