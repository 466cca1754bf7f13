"""Which names an item takes: its own, its aliases, and all that a family of block types reads."""

from collections.abc import Mapping
from typing import Any

from spnas_core.errors import SpnasError


def other_names(noun: str, item: Any) -> Any:
    """Return what else an item is called: the aliases of a block type, the examples of a family; () for all others."""
    if noun != "blocks":
        return ()
    return item.examples if _is_family(item) else item.aliases


def written_names(noun: str, name: str, item: Any) -> tuple[str, ...]:
    """Return the names by which an item is asked for; a family's own is none of them.

    Args:
        noun: what the item is registered among.
        name: that it is registered under.
        item: whose other names are texts.
    """
    own = () if noun == "blocks" and _is_family(item) else (name,)
    return (*own, *other_names(noun, item))


def clash(noun: str, name: str, item: Any, items: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the registered item that a new one shares a name with.

    Example: a block ``g16`` and the family ``g<width>[s]`` share ``g16``, whichever of them is registered first.

    Args:
        noun: what the item is registered among.
        name: that it is registered under.
        item: the new one.
        items: those before it, by name.

    Returns:
        The name of both, and the name that the other one is registered under; None where all names are free.
    """
    if name in items:
        return name, name
    names = written_names(noun, name, item)
    for other, known in items.items():
        others = written_names(noun, other, known)
        for one in names:
            if one in others or _reads(noun, known, one):
                return one, other
        for one in others:
            if _reads(noun, item, one):
                return one, other
    return None


def _is_family(item: Any) -> bool:
    return hasattr(item, "read") and hasattr(item, "examples")


def _reads(noun: str, item: Any, name: str) -> bool:
    """Whether a name is a family's, even one that it refuses."""
    if noun != "blocks" or not _is_family(item):
        return False
    try:
        return item.read(name) is not None
    except SpnasError:  # as of a number that is too large
        return True
    except Exception:  # noqa: BLE001 - whoever asks for a type of that family is told
        return False
