"""Compound scaling: one number makes a code deeper and wider."""

import math

from spnas_core.encoding.architecture import Architecture
from spnas_core.errors import CodeError

DEPTH, WIDTH = 1.2, 1.1
"""Factors of depth and width for each unit of φ; the image's side grows by 1.15 beside them."""
MULTIPLE = 8
"""Base channels are a multiple of this."""
MOST_PHI = 30
"""Which makes a stage 237 times as deep, and 17 times as wide."""


def scale(architecture: Architecture, phi: float) -> Architecture:
    """Return a code scaled by φ: every stage ``1.2^φ`` times as long, the base ``1.1^φ`` times as wide.

    Lengths are rounded up, and a longer stage ends in further blocks ``1``. The base is rounded to the nearest multiple
    of 8, at least 8, and to the next one where that would lose more than a tenth. Rows and neck stay. Multiply-adds
    grow by about 1.45^φ, and by 2^φ where the image's side grows by 1.15^φ, too.

    Example: ``b_11-211`` scaled by 1 is ``b@72_111-2111``.

    Args:
        architecture: any code.
        phi: 0 or more; 0 changes nothing.

    Raises:
        CodeError: φ is below 0 or no number, or the block type does not allow the base that comes out.

    Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, section 3.3.
    """
    if not 0 <= phi <= MOST_PHI:
        raise CodeError(f"{architecture} cannot be scaled by {phi}: it must be in 0…{MOST_PHI}")
    if phi == 0:
        return architecture
    stages = tuple(stage + "1" * (_length(len(stage), phi) - len(stage)) for stage in architecture.stages)
    return Architecture(
        architecture.block,
        stages,
        _channels(architecture.base, phi),
        architecture.stem,
        architecture.rows,
        architecture.shares_rows,
        architecture.neck,
    )


def _length(blocks: int, phi: float) -> int:
    return math.ceil(blocks * math.pow(DEPTH, phi))


def _channels(base: int, phi: float) -> int:
    wanted = base * math.pow(WIDTH, phi)
    rounded = max(MULTIPLE, int(wanted + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return rounded + MULTIPLE * (rounded < 0.9 * wanted)
