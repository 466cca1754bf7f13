"""When a training no longer gets better: pure functions of its scores."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from spnas_core.tasks import MetricSpec


class Scored(NamedTuple):
    """A score on validation images.

    Attributes:
        epoch: finished epochs.
        value: of the first metric's main number; NaN where it is undefined.
    """

    epoch: int
    value: float


class Standing(NamedTuple):
    """Where a training stands.

    Attributes:
        best: the score that the others did not exceed by ``min_delta``.
        waited: scores since then.
    """

    best: Scored
    waited: int


def standing(scores: Sequence[Scored], metric: MetricSpec, *, min_delta: float = 0.0) -> Standing | None:
    """Say which score was the last to improve, and how many came since; None where none is defined.

    A score improves by being better than the best one so far by more than ``min_delta``; the first defined one does.
    One that is undefined never does.

    Example: of 0.30, 0.40, 0.41 and 0.39, where higher is better, 0.41 is the last to improve by more than 0, one ago,
    and 0.40 by more than 0.02, two ago.
    """
    best: Scored | None = None
    waited = 0
    for score in scores:
        gain = math.inf if best is None else (score.value - best.value) * (1 if metric.higher_is_better else -1)
        if not math.isnan(score.value) and gain > min_delta:
            best, waited = score, 0
        else:
            waited += 1
    return None if best is None else Standing(best, waited)


def plateau(scores: Sequence[Scored], metric: MetricSpec, *, patience: int, min_delta: float) -> str | None:
    """Say why a training ends: ``patience`` scores have come since the last one to improve. None where it goes on."""
    found = standing(scores, metric, min_delta=min_delta)
    if found is None or found.waited < patience:
        return None
    epoch, value = found.best
    by = f" by more than {min_delta:g}" if min_delta else ""
    since = f"since epoch {epoch}, where it was {value:.3f}"
    waited = f"{found.waited} score{'s' if found.waited > 1 else ''}"
    return f"validation {metric.name} has not improved{by} in {waited} {since}"
