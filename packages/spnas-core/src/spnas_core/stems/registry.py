"""Stems by name."""

from collections.abc import Mapping

from spnas_core.errors import CodeError, suggestion
from spnas_core.plugins import registry
from spnas_core.stems._base import StemSpec


def stem_specs() -> Mapping[str, StemSpec]:
    """All registered stems by name."""
    return registry("stems").items


def stem_spec(name: str) -> StemSpec:
    """Look up a stem.

    Raises:
        CodeError: no plugin registers the name.
    """
    specs = stem_specs()
    if name not in specs:
        raise CodeError(f"no stem is called {name!r}{suggestion(name, specs)}")
    return specs[name]
