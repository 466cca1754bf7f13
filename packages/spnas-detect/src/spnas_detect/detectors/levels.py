"""Which stages of a backbone the levels of a detector are made of."""

from collections.abc import Sequence

from spnas_core.backbones import AnyNetwork
from spnas_core.errors import ConfigError
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.extra_levels import COUNTS, MERGED


def check_levels(settings: DetectorSettings, architecture: AnyNetwork) -> None:
    """Refuse levels that a detector on an architecture would not have.

    Raises:
        ConfigError: a stage that is not there, or anchor sizes of more levels than there are.
    """
    count = len(read_stages(settings.levels, architecture)) + COUNTS[settings.extra_levels or "none"]
    sizes = settings.anchor_sizes or ()
    if len(sizes) > count:
        raise ConfigError(
            f"detector.anchor_sizes has sizes for {len(sizes)} levels, and {architecture} gives a detector {count}: "
            "leave out those of the coarsest, or choose more levels"
        )


def read_stages(levels: Sequence[str] | None, architecture: AnyNetwork) -> tuple[int, ...]:
    """Return the stages, from 0, that a neck reads of an architecture, the finest first.

    Args:
        levels: as in the settings: ``s1``, ``s2``, …, behind the last one a ``+`` for all coarser stages; None for all
            stages.
        architecture: of the backbone.

    Raises:
        ConfigError: it lacks one of them.

    Example: ("s2", "s3+") reads (1, 2) of three stages and (1, 2, 3, 4) of five.
    """
    count = architecture.stage_count
    if levels is not None and _number(levels[-1]) >= count:
        name = levels[-1].removesuffix("+")
        raise ConfigError(
            f"detector.levels names {name!r}, and {architecture} has the stages s1 to s{count}: choose among these"
        )
    return known_stages(levels, architecture)


def neck_stages(settings: DetectorSettings, architecture: AnyNetwork) -> tuple[int, ...]:
    """Return the stage, from 0, that each level of a neck comes from, the finest first.

    A stage that is pooled before the neck has several levels: the stage itself, then once and twice pooled.

    Raises:
        ConfigError: the architecture lacks a stage that the settings name.
    """
    return _with_pooled(read_stages(settings.levels, architecture), settings.extra_levels)


def known_neck_stages(levels: Sequence[str] | None, extra: str | None, architecture: AnyNetwork) -> tuple[int, ...]:
    """Return those of the stages that ``neck_stages`` would that an architecture has: a parent may have fewer."""
    return _with_pooled(known_stages(levels, architecture), extra)


def _with_pooled(stages: tuple[int, ...], extra: str | None) -> tuple[int, ...]:
    return stages + COUNTS[extra] * stages[-1:] if extra is not None and extra in MERGED else stages


def known_stages(levels: Sequence[str] | None, architecture: AnyNetwork) -> tuple[int, ...]:
    """Return those of the stages that ``read_stages`` would that an architecture has: a parent may have fewer."""
    count = architecture.stage_count
    if levels is None:
        return tuple(range(count))
    found = [_number(name) for name in levels]
    if levels[-1].endswith("+"):
        found += range(found[-1] + 1, count)
    return tuple(stage for stage in found if stage < count)


def _number(name: str) -> int:
    """From 0."""
    return int(name.removesuffix("+").removeprefix("s")) - 1


def stage_names(stages: Sequence[int]) -> list[str]:
    """Return the names of stages that are counted from 0."""
    return [f"s{stage + 1}" for stage in stages]
