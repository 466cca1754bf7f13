"""What a finished search has found, read off its archive."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import SpaceError
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive
from spnas_search.archive.intake import whole
from spnas_search.strategies.sampling import Draw, drawer

ALIKE = 1.1
"""Factor by which a sampled code's multiply-adds may differ from a winner's."""

DRAWS = 2000
"""Codes that are drawn, at most, in order to find one of like cost."""

ALIKE_STREAM = 0x616C696B65
"""Sets these draws apart from those of a search, whose rounds draw by its seed and the number of candidates."""


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        arm: the way that it searched.
        number: of the search, from 0.
        winner: code.
        evaluations: trainings of the search: start, replicates, children, controls and the re-scoring of finalists.
        epochs: of these trainings.
        ranked: codes spread over the search's own ranking, best first, with their leads over the start.
        sampled: another code, drawn at random, whose cost is like the winner's; None where none was drawn.
    """

    arm: str
    number: int
    winner: str
    evaluations: int
    epochs: int
    ranked: tuple[tuple[str, float], ...]
    sampled: str | None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``dataclasses.asdict`` gives, from JSON; a winner is no sample for itself, as it once could be."""
        ranked = tuple((str(Architecture.parse(code)), float(lead)) for code, lead in values["ranked"])
        winner = str(Architecture.parse(values["winner"]))
        sampled = None if values["sampled"] in {None, winner} else str(Architecture.parse(values["sampled"]))
        counts = {key: whole(values[key], key) for key in ("number", "evaluations", "epochs")}
        return cls(**{**values, **counts, "ranked": ranked, "winner": winner, "sampled": sampled})


def look_at(archive: Archive, arm: str, number: int, count: int, space: SearchSpace, seed: int) -> Found | None:
    """Read off what a finished search has found.

    Args:
        archive: of the search.
        arm: the way that it searched.
        number: of the search.
        count: codes of its ranking to take, the winner and the last one among them; 0 takes none.
        space: that it searched.
        seed: of the draw of a code of like cost.

    Returns:
        None where it has no winner, since nothing was scored.
    """
    winner = archive.winner
    if winner is None:
        return None
    nodes = [one for one in archive.best(len(archive)) if one.id != winner.id and one.kind != "reignition"]
    ordered = [winner, *nodes]
    places = sorted(set(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int).tolist()))
    taken = [ordered[place] for place in places]
    ranked = tuple((str(one.architecture), float(lead)) for one in taken if (lead := archive.lead(one)) is not None)
    evaluations = sum(one.phase not in {"verdict", "training"} for one in archive)
    draw = drawer(archive.start.architecture, space.quick, of_parts=archive.inherit == "supernet")
    try:
        sampled = sample_alike(winner.architecture, draw, space, np.random.default_rng([seed, ALIKE_STREAM, number]))
    except SpaceError:  # hardly any part keeps the bounds
        sampled = None
    other = None if sampled is None else str(sampled)
    return Found(arm, number, str(winner.architecture), evaluations, archive.epochs, ranked, other)


def sample_alike(code: Architecture, draw: Draw, space: SearchSpace, rng: np.random.Generator) -> Architecture | None:
    """Draw another code of the space whose multiply-adds are like those of one.

    Args:
        code: whose cost it should have.
        draw: draws codes; see ``drawer``.
        space: bounds.
        rng: the source of chance.

    Returns:
        The first drawn code inside the space within a factor of ``ALIKE``; where none of ``DRAWS`` is, the nearest.
        Never ``code`` itself, which would be compared with itself; None where nothing else was drawn.
    """
    wanted = _multiply_adds(code, space)
    nearest, least = None, np.inf
    for _ in range(DRAWS):
        drawn = draw(rng)
        if drawn == code or drawn not in space:
            continue
        away = abs(np.log(_multiply_adds(drawn, space) / wanted))
        if away <= np.log(ALIKE):
            return drawn
        if away < least:
            nearest, least = drawn, away
    return nearest


def _multiply_adds(code: Architecture, space: SearchSpace) -> int:
    return backbone_cost(code, *space.image_size).multiply_adds
