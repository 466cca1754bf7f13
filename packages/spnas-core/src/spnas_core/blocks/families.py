"""Block types whose names have numbers in them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from spnas_core.blocks._base import BlockSpec


@dataclass(frozen=True)
class BlockFamily:
    """Block types that are made when their names are read, as the plugins register it in the place of one block type.

    Attributes:
        name: how its names are written, such as ``g<width>[s]``.
        summary: one line for listings.
        examples: names of some of its types; the contract suite tries them.
        read: makes the type of a name, which is that type's name; None where the name is not the family's. It raises
            CodeError where a number in it cannot be.
    """

    name: str
    summary: str
    examples: tuple[str, ...]
    read: Callable[[str], BlockSpec | None]


@lru_cache(maxsize=1024)
def member(family: BlockFamily, name: str) -> BlockSpec | None:
    """Return the block type of a name, always the same one; None where the name is not the family's.

    Nor is it where the type is called otherwise: two names of one type would be two architectures.
    """
    found = family.read(name)
    return found if found is not None and found.name == name else None
