"""What every architecture must satisfy, whatever the search space."""

from spnas_core.encoding.architecture import Architecture
from spnas_core.encoding.grammar import NECK
from spnas_core.errors import CodeError

MOST_STAGES = 60
"""Each halves the resolution, and strides have 64 bit."""
MOST_BLOCKS, MOST_ROWS = 10_000, 1000
"""Of all stages together, and beside one stage: more would never be built."""
MOST_CHANNELS = 2**24
MOST_COPIES = 100
"""Of one network in a composition."""


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
    check_neck(architecture.neck)
    block_spec(architecture.block).check(architecture.base)
    stem_spec(architecture.stem).check(architecture.base)


def check_neck(neck: str) -> None:
    """Refuse the name of a neck that could not be read again.

    Raises:
        CodeError: it holds blanks or what begins a neck.
    """
    if NECK in neck or any(letter.isspace() or not letter.isprintable() for letter in neck):
        raise CodeError(f"the neck {neck!r} holds blanks or a {NECK}: write it without")


def oversize(architecture: Architecture) -> str | None:
    """Say by what a network is larger than could ever be built; None where nothing is.

    A code may say so all the same: it is a space that leaves such networks out, and whoever reads what was typed.
    """
    stages, blocks = len(architecture.stages), len(architecture.digits)
    if stages > MOST_STAGES or blocks > MOST_BLOCKS:
        return f"{stages} stages and {blocks} blocks: at most {MOST_STAGES} and {MOST_BLOCKS} are possible"
    doublings = architecture.digits.count("2")
    if architecture.base << doublings > MOST_CHANNELS:
        return f"{doublings} doublings of base {architecture.base}: at most {MOST_CHANNELS} channels are possible"
    most = max(architecture.rows, default=0)
    return f"{most} rows beside a stage: at most {MOST_ROWS} are possible" if most > MOST_ROWS else None
