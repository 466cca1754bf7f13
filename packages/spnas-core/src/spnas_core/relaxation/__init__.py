"""Choosing among the parts of a start by gradient: decisions, mixtures, expected cost, and the way back to codes."""

from spnas_core.relaxation.bilevel import unrolled_gradient
from spnas_core.relaxation.cost import ExpectedCost
from spnas_core.relaxation.decisions import Choice, Decisions
from spnas_core.relaxation.decoding import best_choices, best_codes
from spnas_core.relaxation.mixtures import (
    Logits,
    Odds,
    anneal,
    binary_gates,
    draw_choice,
    draw_other,
    gumbel_odds,
    gumbel_weights,
    log_odds,
    odds_of,
    probabilities,
)
from spnas_core.relaxation.settings import RELAXATIONS, Relaxation, RelaxationKind

__all__ = [
    "RELAXATIONS",
    "Choice",
    "Decisions",
    "ExpectedCost",
    "Logits",
    "Odds",
    "Relaxation",
    "RelaxationKind",
    "anneal",
    "best_choices",
    "best_codes",
    "binary_gates",
    "draw_choice",
    "draw_other",
    "gumbel_odds",
    "gumbel_weights",
    "log_odds",
    "odds_of",
    "probabilities",
    "unrolled_gradient",
]
