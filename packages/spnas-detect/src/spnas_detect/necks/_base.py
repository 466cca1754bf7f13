"""The contract of a neck."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from spnas_core.inheritance import Init
from spnas_core.morphisms import Rewrite
from spnas_core.networks import FeatureInfo
from spnas_core.plugins import registry

if TYPE_CHECKING:
    from collections import OrderedDict


class Neck(Protocol):
    """Maps the dict of a backbone's features to as many levels of ``out_channels`` channels.

    A neck is also an ``nn.Module``; these are the parts that a detector and the inheritance rely on.
    """

    out_channels: int

    def __call__(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute the levels, finest first, under the features' names."""

    def initial(self, name: str) -> Init:
        """Say how a new tensor of the neck starts."""

    def source_names(self, name: str, rewrite: Rewrite) -> Sequence[str]:
        """Names of the parent's neck tensors that a child's may inherit from, the best first."""


NeckFactory = Callable[[FeatureInfo, int], nn.Module]
"""Makes a neck for (what the backbone gives, output channels); the result fulfils ``Neck``."""


def neck_factory(name: str) -> NeckFactory:
    """Look up a registered neck.

    Raises:
        PluginError: no plugin registers the name.
    """
    factory: NeckFactory = registry("necks").get(name)
    return factory
