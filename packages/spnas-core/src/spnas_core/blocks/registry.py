"""Block types by name."""

from collections.abc import Mapping

from spnas_core.blocks._base import BlockSpec
from spnas_core.errors import CodeError, suggestion
from spnas_core.plugins import registry


def block_specs() -> Mapping[str, BlockSpec]:
    """All registered block types by name."""
    return registry("blocks").items


def canonical_block_name(name: str) -> str:
    """Return the registered name for a name or an alias; an unknown one comes back as it is."""
    specs = block_specs()
    if name not in specs:
        for spec in specs.values():
            if name in spec.aliases:
                return spec.name
    return name


def block_spec(name: str) -> BlockSpec:
    """Look up a block type.

    Raises:
        CodeError: no plugin registers the name.
    """
    specs = block_specs()
    if name not in specs:
        raise CodeError(f"no block type is called {name!r}{suggestion(name, specs)}")
    return specs[name]
