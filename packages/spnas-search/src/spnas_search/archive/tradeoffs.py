"""What is weighed against the objective: costs, and further metrics."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT = "multiply_adds"


@dataclass(frozen=True)
class Tradeoff:
    """Something that candidates are compared in beside their merit.

    Attributes:
        name: of a cost, or of a metric of the task.
        is_metric: whether it is a metric: then candidates are compared by what the ranking rule makes of all its
            scores, as they are in the objective.
        higher_is_better: direction of a metric; costs are better where they are lower.
    """

    name: str
    is_metric: bool = False
    higher_is_better: bool = False


def tradeoffs_text(tradeoffs: Sequence[Tradeoff]) -> str:
    """Write them as an archive stores them."""
    return json.dumps([[one.name, one.is_metric, one.higher_is_better] for one in tradeoffs])


def read_tradeoffs(text: str | None) -> tuple[Tradeoff, ...]:
    """Read what an archive stores; older ones weigh multiply-adds."""
    return (Tradeoff(DEFAULT),) if text is None else tuple(Tradeoff(*one) for one in json.loads(text))
