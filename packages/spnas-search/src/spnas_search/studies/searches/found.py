"""What a finished search has found, read off its archive."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive
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
        sampled: a code drawn at random whose cost is like the winner's.
    """

    arm: str
    number: int
    winner: str
    evaluations: int
    epochs: int
    ranked: tuple[tuple[str, float], ...]
    sampled: str

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``dataclasses.asdict`` gives, from JSON."""
        ranked = tuple((str(code), float(lead)) for code, lead in values["ranked"])
        return cls(**{**values, "ranked": ranked})


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
    nodes = [one for one in archive.best(len(archive)) if one.id != winner.id]
    ordered = [winner, *nodes]
    places = sorted(set(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int).tolist()))
    taken = [ordered[place] for place in places]
    ranked = tuple((str(one.architecture), float(lead)) for one in taken if (lead := archive.lead(one)) is not None)
    evaluations = sum(one.phase not in {"verdict", "training"} for one in archive)
    draw = drawer(archive.start.architecture, space, of_parts=archive.inherit == "supernet")
    sampled = sample_alike(winner.architecture, draw, space, np.random.default_rng([seed, ALIKE_STREAM, number]))
    return Found(arm, number, str(winner.architecture), evaluations, archive.epochs, ranked, str(sampled))


def sample_alike(code: Architecture, draw: Draw, space: SearchSpace, rng: np.random.Generator) -> Architecture:
    """Draw a code of the space whose multiply-adds are like those of another one.

    Args:
        code: whose cost it should have.
        draw: draws codes; see ``drawer``.
        space: bounds.
        rng: the source of chance.

    Returns:
        The first drawn code inside the space within a factor of ``ALIKE``; where none of ``DRAWS`` is, the nearest.
    """
    wanted = _multiply_adds(code, space)
    nearest, least = code, np.inf
    for _ in range(DRAWS):
        drawn = draw(rng)
        if drawn not in space:
            continue
        away = abs(np.log(_multiply_adds(drawn, space) / wanted))
        if away <= np.log(ALIKE):
            return drawn
        if away < least:
            nearest, least = drawn, away
    return nearest


def _multiply_adds(code: Architecture, space: SearchSpace) -> int:
    return backbone_cost(code, *space.image_size).multiply_adds
