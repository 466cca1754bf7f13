"""Morphisms by name."""

from collections.abc import Mapping

from spnas_core.morphisms._base import Morphism
from spnas_core.plugins import registry


def morphisms() -> Mapping[str, Morphism]:
    """All registered morphisms by name."""
    return registry("morphisms").items


def morphism(name: str) -> Morphism:
    """Look up a morphism.

    Raises:
        PluginError: no plugin registers the name.
    """
    found: Morphism = registry("morphisms").get(name)
    return found
