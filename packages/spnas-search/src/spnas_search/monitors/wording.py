"""How candidates and durations read, in every view alike."""

from spnas_core.commands.wording import amount, duration, number
from spnas_search.archive import Archive, Candidate

__all__ = ["amount", "duration", "number", "origin", "outcome"]


def origin(candidate: Candidate) -> str:
    """Say where a candidate comes from: its morphisms, or what it is for."""
    if candidate.rewrite.steps:
        return "; ".join(map(str, candidate.rewrite.steps))
    return {"start": "start", "control": f"control of {candidate.parent}", "final": f"final of {candidate.parent}"}.get(
        candidate.kind, candidate.kind
    )


def outcome(archive: Archive, candidate: Candidate) -> str:
    """Say in one line how an evaluation ended."""
    head = f"{candidate.kind} {candidate.id}  {candidate.architecture}"
    if candidate.status == "failed":
        return f"{head}  failed: {candidate.reason}"
    objective = archive.objective.name
    text = f"{head}  {objective} {number(candidate.metrics.get(objective))}"
    gain = archive.gain(candidate)
    if gain is not None:
        text += f"  gain {number(gain, signed=True)}"
    return f"{text}  {duration(candidate.seconds)}"
