"""The value that a backbone's text stands for: a code, a network by name, or a composition of one."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

from spnas_core.backbones._base import BackboneProvider
from spnas_core.encoding import Architecture
from spnas_core.encoding.grammar import NECK
from spnas_core.encoding.validation import MOST_BLOCKS, MOST_COPIES, check_neck
from spnas_core.errors import CodeError, PluginError, suggestion
from spnas_core.morphisms import Rewrite, Step, identity
from spnas_core.networks.features import FeatureInfo
from spnas_core.plugins import registry


@dataclass(frozen=True)
class FixedNetwork:
    """A network of another library, or of a plugin, that cannot be rewritten.

    Attributes:
        provider: that it comes from, as the plugins register it.
        name: by which the provider knows it.
        neck: what a task puts behind it, as ``Architecture`` has it.

    Raises:
        CodeError: nobody provides it; why its library's name is left out, or the nearest name that is known.
    """

    provider: str
    name: str
    neck: str = ""

    def __post_init__(self) -> None:
        check_neck(self.neck)
        source = self.source
        if hint := source.missing():
            raise CodeError(f"{self} needs a library that is not installed: {hint}")
        names = source.names()
        if self.name not in names:
            if reason := source.refusal(self.name):
                raise CodeError(f"{self.provider}:{self.name} {reason}")
            near = suggestion(self.name, names)
            near = near if "did you mean" in near else f"; spnas backbones '{self.provider}:*' lists what there is"
            raise CodeError(f"{self.provider} has no network {self.name!r}{near}")

    def __str__(self) -> str:
        return _with_neck(f"{self.provider}:{self.name}", self.neck)

    @property
    def source(self) -> BackboneProvider:
        """Who provides it.

        Raises:
            CodeError: nobody is registered under that name.
        """
        try:
            return cast("BackboneProvider", registry("backbones").get(self.provider))
        except PluginError:
            known = suggestion(self.provider, registry("backbones").items)
            raise CodeError(f"{self}: nobody provides backbones as {self.provider!r}{known}") from None

    @cached_property
    def feature_info(self) -> FeatureInfo:
        """Channels and reductions of all its stages, ``s1`` at 4 input pixels per feature pixel, ``s2`` at 8, ….

        Raises:
            CodeError: there is none at 4, or one between two others is missing.
        """
        from spnas_core.backbones.building import blank_network

        return blank_network(self).feature_info

    @property
    def stage_count(self) -> int:
        """How many stages a detector may read."""
        return len(self.feature_info.stages)


@dataclass(frozen=True)
class Composition:
    """What is made of a code, and is none; its stages are the code's.

    Attributes:
        inner: the code, which names no neck.
        neck: what a task puts behind it, as ``Architecture`` has it.
    """

    inner: Architecture
    neck: str = field(default="", kw_only=True)

    @property
    def stage_count(self) -> int:
        """How many stages a detector may read."""
        return self.inner.stage_count

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels and reductions of its stages: the code's."""
        from spnas_core.networks import Backbone

        return Backbone(self.inner).feature_info


@dataclass(frozen=True)
class CompositeNetwork(Composition):
    """Several copies of a code's network, each helping the next: CBNet.

    Liu et al., "CBNet: A Novel Composite Backbone Network Architecture for Object Detection", AAAI 2020; adjacent
    higher-level composition.

    Attributes:
        copies: of the code's network, 1 or more.

    Raises:
        CodeError: no copy, or more than could ever be built.
    """

    copies: int

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise CodeError(f"{self} has {self.copies} copies: it must have 1 or more")
        blocks = self.copies * len(self.inner.digits)
        if self.copies > MOST_COPIES or blocks > MOST_BLOCKS:
            raise CodeError(
                f"{self} has {self.copies} copies and {blocks} blocks: at most {MOST_COPIES} and {MOST_BLOCKS} are "
                "possible"
            )
        check_neck(self.neck)

    def __str__(self) -> str:
        return _with_neck(f"cb{self.copies}({self.inner})", self.neck)


@dataclass(frozen=True)
class TridentNetwork(Composition):
    """A code's network one of whose stages is computed with several dilations, which share all weights: TridentNet.

    Li et al., "Scale-Aware Trident Networks for Object Detection", ICCV 2019.

    Attributes:
        stage: number of the branched stage, from 1.

    Raises:
        CodeError: there is no such stage, or the code has rows.
    """

    stage: int

    def __post_init__(self) -> None:
        if not 1 <= self.stage <= self.inner.stage_count:
            raise CodeError(f"{self} branches stage {self.stage}, and {self.inner} has {self.inner.stage_count}")
        if self.inner.rows:
            raise CodeError(f"{self} composes a code with rows: leave out what stands behind the last _")
        check_neck(self.neck)

    def __str__(self) -> str:
        stage = "" if self.stage == last_but_one(self.inner) else f",{self.stage}"
        return _with_neck(f"trident({self.inner}{stage})", self.neck)


def _with_neck(text: str, neck: str) -> str:
    return f"{text}{NECK}{neck}" if neck else text


def last_but_one(code: Architecture) -> int:
    """Return the number of the stage that is branched where none is named: as published, the last but one."""
    return max(1, code.stage_count - 1)


AnyNetwork = Architecture | FixedNetwork | Composition
"""What the text of a backbone stands for."""


def without_neck(network: AnyNetwork) -> AnyNetwork:
    """Return a network that names no neck, and is the same otherwise: whose weights are of one are of the other."""
    return replace(network, neck="") if network.neck else network


@dataclass(frozen=True)
class Unchanged:
    """What ``Rewrite`` is to codes, for a network that cannot be rewritten: it continues itself, by names.

    Attributes:
        network: parent and child.
    """

    network: FixedNetwork | Composition
    steps: tuple[Step, ...] = ()

    @property
    def parent(self) -> FixedNetwork | Composition:
        """The network."""
        return self.network

    @property
    def child(self) -> FixedNetwork | Composition:
        """The network."""
        return self.network


def unchanged(network: AnyNetwork) -> Rewrite | Unchanged:
    """Return the rewrite of any network that changes nothing."""
    return identity(network) if isinstance(network, Architecture) else Unchanged(network)
