"""What any architecture can inherit from any other: the blocks that continue which."""

from collections.abc import Sequence

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Rewrite, Step, identity
from spnas_core.networks.layout import BlockPlacement, block_placements

_Value = tuple[int, int, int]
"""(branches copied as they are, of these in the same stage, blocks inherited through channel maps); more is better."""


def align(parent: Architecture, child: Architecture) -> Rewrite:
    """Map as many blocks of a child as possible to blocks of a parent, in order.

    A residual branch is copied as it is where channels in and planes are equal, whatever the stride. Among the maps
    that keep the order of the blocks and copy most branches, one with most of them in their parent's stage is taken,
    and of these one that has most of the other blocks inherit through channel maps, as after ``widen`` and ``narrow``.
    Found by dynamic programming over both sequences, as Needleman and Wunsch (1970) align proteins.

    The result promises nothing, and copies no fewer branches than the map of any chain of morphisms from the one to the
    other. Aligned with itself, an architecture gives the identity.

    Args:
        parent: whose weights there are.
        child: any architecture of the same block type and stem; base, stages and rows may differ.

    Raises:
        CodeError: block types or stems differ.
    """
    for noun, one, other in (("block type", parent.block, child.block), ("stem", parent.stem, child.stem)):
        if one != other:
            raise CodeError(f"{child} cannot inherit from {parent}: their {noun}s {other!r} and {one!r} differ")
    if parent == child:
        return identity(parent)
    block_map = _best_map(block_placements(parent), block_placements(child))
    copied = copied_branches(Rewrite(parent, child, block_map))
    detail = f"{copied} of {len(block_map)} residual branches are those of {parent}"
    return Rewrite(parent, child, block_map, (Step("align", detail, None),))


def copied_branches(rewrite: Rewrite) -> int:
    """Count the residual branches of the child's main path that are copied from the parent as they are."""
    old, new = block_placements(rewrite.parent), block_placements(rewrite.child)
    pairs = zip(rewrite.block_map, new, strict=True)
    return sum(source is not None and _is_copy(old[source], block) for source, block in pairs)


def _best_map(old: Sequence[BlockPlacement], new: Sequence[BlockPlacement]) -> tuple[int | None, ...]:
    best: list[list[_Value]] = [[(0, 0, 0)] * (len(old) + 1) for _ in range(len(new) + 1)]
    for i in range(len(new) - 1, -1, -1):
        for j in range(len(old) - 1, -1, -1):
            best[i][j] = max(_taken(best, old, new, i, j), best[i + 1][j], best[i][j + 1])
    found: list[int | None] = []
    at = 0
    while len(found) < len(new):
        i = len(found)
        if at < len(old) and best[i][at] == _taken(best, old, new, i, at):
            found.append(at)
            at += 1
        elif best[i][at] == best[i + 1][at]:
            found.append(None)
        else:
            at += 1
    return tuple(found)


def _taken(
    best: list[list[_Value]], old: Sequence[BlockPlacement], new: Sequence[BlockPlacement], i: int, j: int
) -> _Value:
    """What the rest is worth where the child's block i continues the parent's block j."""
    rest, is_copy = best[i + 1][j + 1], _is_copy(old[j], new[i])
    in_stage = is_copy and old[j].stage == new[i].stage
    return rest[0] + is_copy, rest[1] + in_stage, rest[2] + (not is_copy)


def _is_copy(old: BlockPlacement, new: BlockPlacement) -> bool:
    return (old.in_channels, old.planes) == (new.in_channels, new.planes)
