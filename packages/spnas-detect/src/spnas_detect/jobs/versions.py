"""Packages whose versions decide what a training comes to."""

from collections.abc import Mapping

from spnas_core.installed import other_versions, versions_of

DISTRIBUTIONS = ("spnas-core", "spnas-detect", "spnas-kernels", "torch", "torchvision")
"""Distributions whose code a training is computed by; those of plugins come on top."""


def installed_versions() -> dict[str, str]:
    """Return the versions of everything that a training is computed by."""
    return versions_of(DISTRIBUTIONS)


def changed_versions(before: Mapping[str, str]) -> list[str]:
    """Say which packages have other versions than before; nothing where none were noted."""
    if not before:
        return []
    differing = other_versions(before, installed_versions(), DISTRIBUTIONS)
    return [f"{name} {then or '(not installed)'} then, {now or 'not installed'} now" for name, then, now in differing]
