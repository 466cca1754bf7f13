"""The steps that lead from one architecture to another."""

from bisect import bisect_left

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Rewrite, identity
from spnas_core.morphisms.add_stage import AddStage
from spnas_core.morphisms.expand import Expand
from spnas_core.morphisms.swap import Swap


def chain(rewrite: Rewrite) -> Rewrite:
    """Express a rewrite by add stage, expand and swap, one after the other.

    First the stages are appended, then every other new block is inserted, from the first to the last, then each border
    that stands elsewhere is moved, by one swap.

    Example: from ``11-21`` to ``112-11-1`` with blocks 0, 1, 2, 3, new, new: add stage gives ``11-21-1``, one expansion
    ``11-211-1``, and one swap moves border 1|2 right by 1.

    Args:
        rewrite: the two architectures and the origin of the child's blocks; its own steps do not count.

    Returns:
        The same rewrite with the steps of the chain.

    Raises:
        CodeError: no such chain exists. All blocks of the parent must stay, in order, the first one in front; new
            blocks must be of kind ``1``, and the sequence must end with one for each new stage.
    """
    parent, child = rewrite.parent, rewrite.child
    appended = len(child.stages) - len(parent.stages)
    new = [at for at, source in enumerate(rewrite.block_map) if source is None]
    kept = [source for source in rewrite.block_map if source is not None]
    chained = identity(parent)
    if kept == list(range(len(parent.digits))) and 0 not in new and 0 <= appended <= len(new):
        for _ in range(appended):
            chained = chained.then(AddStage().options(chained.child)[0])
        for at in new[: len(new) - appended]:
            chained = chained.then(_insertion(chained.child, at))
        chained = _with_borders(chained, child.borders)
    if (chained.child, chained.block_map) != (child, rewrite.block_map):
        blocks = ", ".join("new" if source is None else str(source) for source in rewrite.block_map)
        raise CodeError(
            f"no chain of add stage, expand and swap leads from {parent} to {child} with blocks {blocks}: all blocks "
            "of the parent must stay in order, the first one in front, and a new stage needs a new block 1 at the end"
        )
    return chained


def _insertion(architecture: Architecture, at: int) -> Rewrite:
    """Insert a block that gets an index above 0; in front of a border it ends the earlier stage."""
    starts = (0, *architecture.borders)
    stage = bisect_left(starts, at) - 1
    return Expand().insert(architecture, stage, at - starts[stage])


def _with_borders(chained: Rewrite, borders: tuple[int, ...]) -> Rewrite:
    """Move borders to where they belong, those to the right from the last one on, so that none meets another."""
    swap = Swap(max_step=len(chained.child.digits))
    shifts = [wanted - found for found, wanted in zip(chained.child.borders, borders, strict=True)]
    rightwards = [number for number, shift in reversed(list(enumerate(shifts))) if shift > 0]
    leftwards = [number for number, shift in enumerate(shifts) if shift < 0]
    for number in rightwards + leftwards:
        chained = chained.then(swap.move(chained.child, number, shifts[number]))
    return chained
