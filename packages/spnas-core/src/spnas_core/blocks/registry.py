"""Block types by name."""

from collections.abc import Mapping

from spnas_core.blocks._base import BlockSpec
from spnas_core.blocks.families import BlockFamily, member
from spnas_core.errors import CodeError, suggestion
from spnas_core.plugins import registry


def block_specs() -> Mapping[str, BlockSpec]:
    """All registered block types by name; those of families are not among them."""
    return {name: item for name, item in registry("blocks").items.items() if not isinstance(item, BlockFamily)}


def block_families() -> Mapping[str, BlockFamily]:
    """All registered families by how their names are written."""
    return {name: item for name, item in registry("blocks").items.items() if isinstance(item, BlockFamily)}


def canonical_block_name(name: str) -> str:
    """Return the registered name for a name or an alias; an unknown one comes back as it is."""
    if name in registry("blocks").items:
        return name
    return next((spec.name for spec in block_specs().values() if name in spec.aliases), name)


def block_spec(name: str) -> BlockSpec:
    """Look up a block type: one that is registered by that name, or whose family reads it.

    Raises:
        CodeError: no plugin registers the name, or a number in it cannot be.
    """
    item = registry("blocks").items.get(name)
    if item is not None and not isinstance(item, BlockFamily):
        found: BlockSpec = item
        return found
    families = block_families()
    for family in families.values():
        spec = member(family, name)
        if spec is not None:
            return spec
    raise CodeError(f"no block type is called {name!r}{suggestion(name, [*block_specs(), *families])}")
