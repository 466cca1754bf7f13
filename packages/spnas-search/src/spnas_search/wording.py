"""How candidates and phases read, in every view alike."""

import math
from collections import Counter

from spnas_core.commands.wording import duration, number
from spnas_search.archive import Archive, Candidate

PHASES = {
    "start": "training the start",
    "noise": "measuring the seed noise",
    "search": "searching",
    "finalists": "scoring the finalists again",
    "verdict": "training winner and start alike, for the verdict",
    "training": "training the winner for use",
}
"""What goes on in each phase of a search."""

LEAD = "lead ±s.e."
"""Heading of leads, which stand with their standard errors."""

MOST_STEPS = 4
"""Morphisms of one child that are told one by one; of more, how many of each kind there are."""


def origin(candidate: Candidate) -> str:
    """Say where a candidate comes from: its morphisms, or what it is for."""
    steps = candidate.rewrite.steps
    if len(steps) > MOST_STEPS:
        return ", ".join(f"{count} {name}" for name, count in Counter(step.morphism for step in steps).items())
    if steps:
        return "; ".join(map(str, steps))
    if candidate.kind == "final":
        return _final_origin(candidate)
    wordings = {
        "start": "start",
        "warm": "fresh warm start",
        "replicate": f"{candidate.subject} once more",
        "rung": f"{candidate.subject} trained on",
        "trained": f"{candidate.subject} trained for use",
    }
    return wordings.get(candidate.kind, f"{candidate.kind} of {candidate.parent}")


def _final_origin(final: Candidate) -> str:
    if final.parent is None:
        return f"{final.subject} from scratch"
    return f"{final.subject} from {final.parent}" if final.epochs else f"{final.subject} as it is"


def merit_of(archive: Archive, candidate: Candidate) -> float | None:
    """Return a candidate's merit in the objective's own direction: of a loss, as losses are, lower is better.

    The archive turns merits so that higher is always better, which people should not have to know. Gains need no such
    turn, nor do leads: they are improvements, positive is better whatever the objective.
    """
    return in_own_direction(archive, archive.merit(candidate))


def in_own_direction(archive: Archive, merit: float | None) -> float | None:
    """Turn a merit of the archive's as people know the objective."""
    return merit if merit is None or archive.objective.higher_is_better else -merit


def with_error(lead: float | None, error: float | None) -> str:
    """Show a lead with its standard error, where they are known; positive is better, whatever the objective."""
    if lead is not None and error is not None and math.isfinite(lead + error):
        return f"{lead:+.3f} ±{error:.3f}"
    return number(lead, signed=True) + ("" if error is None else f" ±{number(error)}")


def outcome(archive: Archive, candidate: Candidate) -> str:
    """Say in one line how an evaluation ended; a positive lead over the start is an improvement."""
    head = f"{candidate.kind} {candidate.id}  {candidate.architecture}"
    if candidate.status == "failed":
        return f"{head}  failed: {candidate.reason}"
    objective = archive.objective.name
    text = f"{head}  {objective} {number(candidate.metrics.get(objective))}"
    if (lead := archive.lead(candidate)) is not None and candidate.kind == "child":
        text += f"  lead {with_error(lead, archive.lead_error(candidate))}"
    return f"{text}  {duration(candidate.seconds)}"
