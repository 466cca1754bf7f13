"""How candidates and durations read, in every view alike."""

from spnas_core.commands.wording import amount, duration, number
from spnas_search.archive import Archive, Candidate

__all__ = ["amount", "duration", "merit_of", "number", "origin", "outcome"]


def origin(candidate: Candidate) -> str:
    """Say where a candidate comes from: its morphisms, or what it is for."""
    if candidate.rewrite.steps:
        return "; ".join(map(str, candidate.rewrite.steps))
    return {"start": "start", "control": f"control of {candidate.parent}", "final": f"final of {candidate.parent}"}.get(
        candidate.kind, candidate.kind
    )


def merit_of(archive: Archive, candidate: Candidate) -> float | None:
    """Return a candidate's merit in the objective's own direction: of a loss, as losses are, lower is better.

    The archive turns merits so that higher is always better, which people should not have to know. Gains need no such
    turn: they are improvements, positive is better whatever the objective.
    """
    merit = archive.merit(candidate)
    return merit if merit is None or archive.objective.higher_is_better else -merit


def outcome(archive: Archive, candidate: Candidate) -> str:
    """Say in one line how an evaluation ended; a positive gain is an improvement."""
    head = f"{candidate.kind} {candidate.id}  {candidate.architecture}"
    if candidate.status == "failed":
        return f"{head}  failed: {candidate.reason}"
    objective = archive.objective.name
    text = f"{head}  {objective} {number(candidate.metrics.get(objective))}"
    gain = archive.gain(candidate)
    if gain is not None:
        text += f"  gain {number(gain, signed=True)}"
    return f"{text}  {duration(candidate.seconds)}"
