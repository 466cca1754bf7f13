"""The contract of a neck."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor, nn

from spnas_core.backbones import AnyNetwork
from spnas_core.errors import ConfigError
from spnas_core.inheritance import Init
from spnas_core.networks import FeatureInfo
from spnas_core.plugins import registry
from spnas_detect.necks.levels import LevelMap

if TYPE_CHECKING:
    from collections import OrderedDict

PUBLISHED_CHANNELS = 256
"""Channels of the levels of published pyramids, which their first values were chosen for."""


class Neck(Protocol):
    """Maps the dict of a backbone's features to as many levels of ``out_channels`` channels.

    A neck is also an ``nn.Module``; these are the parts that a detector and the inheritance rely on. Its tensors' names
    must differ from those of other necks: what has the name of a parent's tensor inherits it.
    """

    out_channels: int

    def __call__(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute the levels, finest first, under the features' names and in the features' sizes."""

    def initial(self, name: str) -> Init:
        """Say how a new tensor of the neck starts."""

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """Names of the parent's neck tensors that a child's may inherit from, the best first."""

    def reads(self, name: str) -> int | None:
        """The level, from 0, whose features a tensor of the neck reads in its second dimension; None for all others."""


class NeckFactory(Protocol):
    """Makes a neck; the result fulfils ``Neck``. A neck's class serves as its factory."""

    def __call__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None, /) -> nn.Module:
        """Make a neck, on the meta device too.

        Args:
            features: what the backbone gives; one level or more.
            out_channels: channels of every level.
            repeats: how many cells are stacked; None for the neck's own choice.

        Raises:
            ConfigError: ``repeats`` of a neck that does not stack; see ``refuse_repeats``.
        """


@runtime_checkable
class NeckFamily(Protocol):
    """Makes necks from texts: registered as ``merge`` it makes ``merge:TEXT``. It is a factory of its default, too."""

    def of(self, text: str) -> NeckFactory:
        """Return what makes the neck of a text.

        Raises:
            ConfigError: what is wrong with the text, and where.
        """


def neck_factory(name: str) -> NeckFactory:
    """Look up a registered neck, or that of a registered family: ``merge:TEXT``.

    Raises:
        PluginError: no plugin registers the name.
        ConfigError: a text behind the name of a neck that takes none, or one that its family does not read.
    """
    family, colon, text = name.partition(":")
    factory: NeckFactory = registry("necks").get(family)
    if not colon:
        return factory
    if not isinstance(factory, NeckFamily):
        raise ConfigError(f"neck {family!r} takes no text, and {name!r} has one: leave out what follows the colon")
    return factory.of(text)


def neck_of(network: AnyNetwork, otherwise: str) -> NeckFactory:
    """Look up the neck that a network names, or the one that settings name for those which do not.

    Raises:
        PluginError: no plugin registers the name.
        ConfigError: see ``neck_factory``.
    """
    return neck_factory(neck_name(network, otherwise))


def neck_name(network: AnyNetwork, otherwise: str) -> str:
    """Return the name of the neck of a network: its own, or that of the settings."""
    return network.neck or otherwise


def refuse_repeats(name: str, repeats: int | None) -> None:
    """Refuse to stack a neck that is one cell.

    Raises:
        ConfigError: more than one repeat.
    """
    if repeats not in {None, 1}:
        raise ConfigError(
            f"neck {name!r} is not stacked, and neck_repeats is {repeats}: leave it out, or take 'bifpn' or 'nas-fpn'"
        )
