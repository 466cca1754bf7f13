"""What every architecture must satisfy, whatever the search space."""

from spnas_core.encoding.architecture import Architecture
from spnas_core.encoding.grammar import NECK
from spnas_core.errors import CodeError

MOST_STAGES = 60
"""Each halves the resolution, and strides have 64 bit."""
MOST_BLOCKS, MOST_ROWS = 10_000, 1000
"""Of all stages together, and beside one stage: more would never be built."""
MOST_CHANNELS = 2**24


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


def check_size(architecture: Architecture) -> None:
    """Refuse what somebody has typed and no machine could build.

    Raises:
        CodeError: how much it asks for, and the most that is possible.
    """
    blocks = sum(map(len, architecture.stages))
    if len(architecture.stages) > MOST_STAGES or blocks > MOST_BLOCKS:
        raise CodeError(
            f"the serial code has {len(architecture.stages)} stages and {blocks} blocks: at most {MOST_STAGES} and "
            f"{MOST_BLOCKS} are possible"
        )
    doublings = sum(stage.count("2") for stage in architecture.stages)
    if architecture.base << doublings > MOST_CHANNELS:
        raise CodeError(
            f"base {architecture.base} and {doublings} doublings give more than {MOST_CHANNELS} channels, which is the "
            "most that is possible"
        )
    if max(architecture.rows, default=0) > MOST_ROWS:
        raise CodeError(f"the parallel code asks for {max(architecture.rows)} rows: at most {MOST_ROWS} are possible")
