"""How candidates and durations read, in every view alike."""

import math

from spnas_search.archive import Archive, Candidate


def duration(seconds: float | None) -> str:
    """Write seconds as ``4:05`` or ``2:04:05``; an unknown duration as a dash."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(number: float) -> str:
    """Write a count with three digits and a unit: ``44.2 M``."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def number(value: float | None, *, signed: bool = False) -> str:
    """Write a score; an unknown or undefined one as a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


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
