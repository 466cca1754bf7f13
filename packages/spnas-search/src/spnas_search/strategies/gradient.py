"""Choosing among the parts of the start by what it has learnt of them: gradient-based architecture search.

Liu et al., "DARTS", ICLR 2019; Xie et al., "SNAS", ICLR 2019; Cai et al., "ProxylessNAS", ICLR 2019; Liu et al.,
"Auto-DeepLab", CVPR 2019. The gradient is the evaluator's: the start trains the choice among its parts beside its
weights, and its receipt says how likely each decision has become. The strategy reads that, and proposes.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from spnas_core.configuration import Count, Few, Table
from spnas_core.errors import ConfigError
from spnas_core.relaxation import Decisions, Logits, Relaxation, RelaxationKind, best_codes
from spnas_core.space import SearchSpace
from spnas_core.supernets import part_of
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal

RECEIPT = "relaxation"
"""Entry of the start's receipt that has the logits of all decisions."""


class GradientSettings(Table):
    """The ``[strategy]`` table of a search by gradient; what is not explained here is ``Relaxation``'s.

    Attributes:
        name: the strategy's name.
        round: children per round: the next most probable codes.
        epochs: that a child is trained after inheriting; 0 scores what it inherits.
        relaxation: kind of mixture.
    """

    name: Literal["gradient"] = "gradient"
    round: Few = Field(2, ge=1)
    epochs: Count = Field(0, ge=0)
    relaxation: RelaxationKind = "softmax"
    learning_rate: float = Field(3e-4, gt=0)
    beta: float = Field(0.5, ge=0, lt=1)
    weight_decay: float = Field(1e-3, ge=0)
    warmup: float = Field(0.0, ge=0, lt=1)
    every: Count = Field(1, ge=1)
    second_order: bool = False
    anneals: bool = False
    cost: float = Field(0.0, ge=0)
    cost_form: Literal["add", "log"] = "add"
    cost_reference: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> "GradientSettings":
        self.value()
        return self

    def value(self) -> Relaxation:
        """Return what the start is asked for.

        Raises:
            ValueError: settings that exclude one another.
        """
        own = self.model_dump(exclude={"name", "round", "epochs", "relaxation"})
        return Relaxation(self.relaxation, **own)


class Gradient:
    """Proposes the code that the start has found most probable, then the next best ones.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Attributes:
        relaxation: what the start is asked for.
    """

    def __init__(self, settings: GradientSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self.relaxation = settings.value()

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the most probable codes that are new; chance has no part in it."""
        del rng
        start, logits = archive.start, self._logits(archive)
        if start.status != "done" or logits is None:
            return []
        decisions = Decisions(start.architecture, self.relaxation.mixes)
        known = sum(candidate.is_node for candidate in archive)
        codes = best_codes(decisions, logits, self.space, known + self.settings.round)
        new = [code for code in codes if not archive.contains(code)][: self.settings.round]
        fidelity = Fidelity(self.settings.epochs)
        return [Proposal("child", start.id, part_of(start.architecture, code), fidelity) for code in new]

    def stuck(self, archive: Archive) -> str | None:
        """Where the start has learnt nothing of its parts."""
        if archive.start.status == "done" and self._logits(archive) is None:
            return "the start's receipt says nothing of its parts, so there is no most probable one"
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The start."""
        return frozenset({archive.start.id} if archive.start.status == "done" else ())

    def _logits(self, archive: Archive) -> Logits | None:
        found = archive.start.receipt.get(RECEIPT)
        if found is None:
            return None
        try:
            logits = Logits.from_plain(found)
        except ValueError as error:
            raise ConfigError(f"the start's receipt has a {RECEIPT!r} that cannot be read: {error}") from None
        legal = Decisions(archive.start.architecture, self.relaxation.mixes).legal.shape
        if tuple(logits.move.shape) != legal or len(logits.keep) != legal[0] + 1:
            raise ConfigError(f"the start's receipt has a {RECEIPT!r} of another architecture")
        return logits
