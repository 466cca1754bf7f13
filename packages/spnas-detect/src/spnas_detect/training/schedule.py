"""Learning-rate schedules."""

import math
from collections.abc import Sequence
from typing import Literal

WARMUP_SHARE = 0.2
STEP_DROPS = (2 / 3, 8 / 9)


def learning_rate_factor(
    step: int,
    steps: int,
    warmup_steps: int,
    schedule: Literal["cosine", "step"],
    drops: Sequence[float] | None = None,
) -> float:
    """Return what the peak learning rate is multiplied by.

    Args:
        step: from 0 to steps - 1.
        steps: of the whole training.
        warmup_steps: length of the linear rise; cut to a fifth of the training.
        schedule: see ``TrainingSettings``.
        drops: shares of all steps after which ``step`` divides by ten; None for two thirds and eight ninths of those
            behind the warm-up.

    Returns:
        A number in (0, 1].
    """
    warmup = min(warmup_steps, int(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    if schedule == "step" and drops is not None:
        return float(0.1 ** sum(step >= drop * steps for drop in drops))
    if schedule == "step":
        return float(0.1 ** sum(done >= drop for drop in STEP_DROPS))
    return 0.5 * (1 + math.cos(math.pi * done))
