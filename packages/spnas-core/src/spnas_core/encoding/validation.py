"""What every architecture must satisfy, whatever the search space."""

from spnas_core.encoding.architecture import Architecture
from spnas_core.encoding.grammar import NECK
from spnas_core.errors import CodeError


def check_architecture(architecture: Architecture) -> None:
    """Refuse an impossible network.

    Raises:
        CodeError: naming the invariant, the value and the place.
    """
    from spnas_core.blocks import block_spec
    from spnas_core.stems import stem_spec

    code = "-".join(architecture.stages)
    if not architecture.stages:
        raise CodeError("the serial code is empty: an architecture needs at least one stage")
    for number, stage in enumerate(architecture.stages, 1):
        if not stage:
            raise CodeError(f"stage {number} of {code!r} is empty: every stage needs at least one block")
        for position, digit in enumerate(stage, 1):
            if digit not in "12":
                raise CodeError(
                    f"block {position} of stage {number} of {code!r} is {digit!r}: "
                    "a block is 1 (keeps the channels) or 2 (doubles them)"
                )
    if architecture.base < 1:
        raise CodeError(f"base {architecture.base} leaves the first stage without channels: it must be at least 1")
    if architecture.rows and len(architecture.rows) != len(architecture.stages):
        rows = "-".join(map(str, architecture.rows))
        raise CodeError(
            f"the parallel code {rows!r} has {len(architecture.rows)} entries for {len(architecture.stages)} stages "
            f"of {code!r}: it needs one entry per stage"
        )
    if any(count < 0 for count in architecture.rows):
        raise CodeError(f"the parallel code {architecture.rows} holds a negative number of rows")
    if NECK in architecture.neck or any(letter.isspace() or not letter.isprintable() for letter in architecture.neck):
        raise CodeError(f"the neck {architecture.neck!r} holds blanks or a {NECK}: write it without")
    block_spec(architecture.block).check(architecture.base)
    stem_spec(architecture.stem).check(architecture.base)
