"""How the architecture of a start is trained together with its weights."""

from dataclasses import dataclass
from typing import Literal, get_args

RelaxationKind = Literal["softmax", "gumbel", "binary"]
RELAXATIONS: tuple[RelaxationKind, ...] = get_args(RelaxationKind)


@dataclass(frozen=True)
class Relaxation:
    """A relaxation of the decisions about a start's parts, and how its parameters α are trained.

    Attributes:
        kind: ``softmax``, features of all parts are added up by their probabilities, and α is trained on a half of the
            training images that the weights do not see (DARTS); ``gumbel``, by weights that are sampled anew in each
            step, α on the same loss as the weights (SNAS); ``binary``, one sampled part computes, and α is trained on
            the other half, by the losses of two sampled parts (ProxylessNAS).
        learning_rate: of Adam on α.
        beta: of Adam, the first one; the second is 0.999.
        weight_decay: of α.
        warmup: share of the training during which α stays as it is.
        every: steps of the weights for each of α.
        second_order: with ``softmax``, whether the gradient goes through a step of the weights.
        anneals: with ``gumbel``, whether the temperature falls linearly from 1 to 0.03; else it stays 1.
        cost: weight of the expected cost in the loss of α.
        cost_form: ``add``, ``cost · (E − reference) / reference`` is added; ``log``, the loss is multiplied by
            ``scale · (log E / log reference)^cost`` (ProxylessNAS's ``mul#log``).
        cost_reference: multiply-adds that are aimed at, as a share of the start's.

    Raises:
        ValueError: a value outside its range.
    """

    kind: RelaxationKind = "softmax"
    learning_rate: float = 3e-4
    beta: float = 0.5
    weight_decay: float = 1e-3
    warmup: float = 0.0
    every: int = 1
    second_order: bool = False
    anneals: bool = False
    cost: float = 0.0
    cost_form: Literal["add", "log"] = "add"
    cost_reference: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in RELAXATIONS:
            raise ValueError(f"relaxation {self.kind!r}: it must be one of {', '.join(RELAXATIONS)}")
        if self.learning_rate <= 0 or not 0 <= self.beta < 1 or self.weight_decay < 0 or self.cost < 0:
            raise ValueError("learning_rate is above 0, beta in 0…1, weight_decay and cost are 0 or more")
        if self.kind == "gumbel" and self.cost_form == "log":
            raise ValueError("gumbel trains α on the weights' own loss, to which a cost is added: cost_form 'add'")
        if not 0 <= self.warmup < 1 or self.every < 1 or self.cost_reference <= 0:
            raise ValueError("warmup is a share below 1, every is 1 or more, cost_reference above 0")

    @property
    def mixes(self) -> bool:
        """Whether features of several parts are added up."""
        return self.kind != "binary"

    @property
    def halves(self) -> bool:
        """Whether α is trained on images that the weights do not see."""
        return self.kind != "gumbel"
