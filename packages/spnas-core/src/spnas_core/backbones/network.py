"""The value that a backbone's text stands for: a code, a network by name, or a composition of one."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

from spnas_core.backbones._base import BackboneProvider
from spnas_core.encoding import Architecture
from spnas_core.encoding.grammar import NECK
from spnas_core.encoding.validation import oversize
from spnas_core.errors import CodeError, PluginError, suggestion
from spnas_core.morphisms import Rewrite, Step, identity
from spnas_core.networks.features import FeatureInfo
from spnas_core.paths import is_there
from spnas_core.plugins import registry


@dataclass(frozen=True)
class FixedNetwork:
    """A network of another library, or of a plugin, that cannot be rewritten.

    Attributes:
        provider: that it comes from, as the plugins register it.
        name: by which the provider knows it.

    Raises:
        CodeError: nobody provides it; the nearest name that is known.
    """

    provider: str
    name: str

    def __post_init__(self) -> None:
        source = self.source
        if hint := source.missing():
            raise CodeError(f"{self} needs a library that is not installed: {hint}")
        names = source.names()
        if self.name not in names:
            near = suggestion(self.name, names)
            near = near if "did you mean" in near else f"; spnas backbones '{self.provider}:*' lists what there is"
            raise CodeError(f"{self.provider} has no network {self.name!r}{near}")

    def __str__(self) -> str:
        return f"{self.provider}:{self.name}"

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
        inner: the code.
    """

    inner: Architecture

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
        CodeError: no copy.
    """

    copies: int

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise CodeError(f"{self} has {self.copies} copies: it must have 1 or more")

    def __str__(self) -> str:
        return f"cb{self.copies}({self.inner})"


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

    def __str__(self) -> str:
        return f"trident({self.inner}{'' if self.stage == last_but_one(self.inner) else f',{self.stage}'})"


def last_but_one(code: Architecture) -> int:
    """Return the number of the stage that is branched where none is named: as published, the last but one."""
    return max(1, code.stage_count - 1)


AnyNetwork = Architecture | FixedNetwork | Composition
"""What the text of a backbone stands for."""

_NUMBERED = re.compile(r"(?P<folder>.+):[+-]?\d*")
"""What looks like the candidate of a run."""

_COMPOSITION = re.compile(r"(?P<name>cb\d+|trident)\((?P<inner>.*?)(?:,\s*(?P<stage>\d+))?\)")


@lru_cache(maxsize=256)
def read_network(text: str) -> AnyNetwork:
    """Read the text of a backbone: ``timm:hrnet_w18``, ``cb2(CODE)``, ``trident(CODE)``, or an architecture's code.

    Raises:
        CodeError: it is none of these, nobody provides it, something else than a code is to be composed, or it is
            larger than could ever be built.
    """
    text = text.strip()
    if match := _COMPOSITION.fullmatch(text):
        inner, name = read_network(match["inner"]), match["name"]
        if not isinstance(inner, Architecture):
            raise CodeError(f"{text!r} composes {inner}: only codes can be composed, such as {name}(b_11-21-21-21)")
        if inner.neck:
            raise CodeError(f"{text!r} names a neck inside of {name}(): leave it out, and name it in detector.neck")
        if name == "trident":
            return TridentNetwork(inner, int(match["stage"] or last_but_one(inner)))
        if match["stage"] is not None:
            raise CodeError(f"{text!r} names a stage, and copies that help one another have none: {name}({inner})")
        return CompositeNetwork(inner, int(name.removeprefix("cb")))
    if text.startswith(("cb", "trident")) and "(" in text:
        raise CodeError(
            f"{text!r} is no backbone: copies that help one another are written cb2(b_11-21-21-21), branches that "
            "share their weights trident(b_11-21-21-21)"
        )
    provider, colon, name = text.partition(":")
    is_code = not colon or NECK in provider
    if not is_code:
        return FixedNetwork(provider, name)
    architecture = Architecture.parse(text)
    if (larger := oversize(architecture)) is not None:
        raise CodeError(f"a backbone of {larger}")
    return architecture


def read_reference(text: str) -> AnyNetwork:
    """Read what may name a run in the place of a backbone, and names none.

    Raises:
        CodeError: it is no backbone; where it looks like a run or its candidate, the message says that there is none.
    """
    try:
        return read_network(text)
    except CodeError as error:
        numbered = _NUMBERED.fullmatch(text)
        folder = numbered["folder"] if numbered else text.partition(":")[0]
        neither = f"{text!r} is neither the folder of a run, as RUN or RUN:ID, nor the code of an architecture"
        if ":" in text and folder not in registry("backbones").items and (numbered or "/" in folder):
            raise CodeError(f"{neither}: there is no run in {folder}") from None
        if "/" in text or is_there(text):
            raise CodeError(f"{neither}: {error}") from None
        raise


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
