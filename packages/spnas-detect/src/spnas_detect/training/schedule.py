"""Learning-rate schedules."""

import math
from collections.abc import Sequence
from typing import Literal

from spnas_core.errors import ConfigError

WARMUP_SHARE = 0.2
STEP_DROPS = (2 / 3, 8 / 9)


def learning_rate_factor(
    step: int,
    steps: int,
    warmup_steps: int,
    schedule: Literal["cosine", "step"],
    drops: Sequence[float] | None = None,
    epochs: int = 1,
) -> float:
    """Return what the peak learning rate is multiplied by.

    Args:
        step: from 0 to steps - 1.
        steps: of the whole training.
        warmup_steps: length of the linear rise; cut to a fifth of the training.
        schedule: see ``TrainingSettings``.
        drops: where ``step`` divides by ten: after these shares of all steps, or, where they are negative, so many
            epochs before the end. None, and a training that is not longer than that, for two thirds and eight ninths
            of the steps behind the warm-up.
        epochs: of the whole training.

    Returns:
        A number in (0, 1].

    Example: drops of (-8, -2) fall after 65 and 71 of 73 epochs, and after 138 and 144 of 146.
    """
    warmup = min(warmup_steps, int(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    if schedule == "step" and drops is not None and _is_within(drops, epochs):
        return float(0.1 ** sum(_is_behind(step, steps, drop, epochs) for drop in drops))
    if schedule == "step":
        return float(0.1 ** sum(done >= drop for drop in STEP_DROPS))
    return 0.5 * (1 + math.cos(math.pi * done))


def check_drops(schedule: Literal["cosine", "step"], drops: Sequence[float] | None, epochs: int) -> None:
    """Refuse drops that a training is too short for.

    Raises:
        ConfigError: the first of them would come when it begins, or before.
    """
    if schedule == "step" and drops is not None and not _is_within(drops, epochs):
        raise ConfigError(
            f"training.drops begins at {drops[0]:g}, in epochs before the end, and epochs is {epochs}: train for more, "
            "or give shares of the training, such as [0.67, 0.89]"
        )


def _is_within(drops: Sequence[float], epochs: int) -> bool:
    """Whether the first drop comes after the beginning."""
    return drops[0] + epochs > 0


def _is_behind(step: int, steps: int, drop: float, epochs: int) -> bool:
    """Whether a step is behind a drop; exact for whole epochs."""
    return (step - steps) * epochs >= drop * steps if drop < 0 else step >= drop * steps
