"""Drawing a child: a composition of random morphisms that is new and inside the search space."""

from collections.abc import Callable, Mapping

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Morphism, Rewrite, identity
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Candidate


def draw_rewrite(
    architecture: Architecture,
    odds: Mapping[Morphism, float],
    max_mutations: int,
    rng: np.random.Generator,
) -> Rewrite:
    """Compose 1 … max_mutations random morphisms, their number uniform.

    Each step draws a morphism by its odds among those that apply, then one of its applications uniformly. The bounds
    of a search space are not looked at: a composition may pass outside and come back.

    Args:
        architecture: the parent.
        odds: relative weight of each morphism; zero never draws it.
        max_mutations: most morphisms in one child.
        rng: source of chance.

    Returns:
        The rewrite; the identity where nothing applies.
    """
    rewrite = identity(architecture)
    for _ in range(int(rng.integers(1, max_mutations + 1))):
        applicable = [
            (weight, options)
            for morphism, weight in odds.items()
            if weight > 0 and (options := morphism.options(rewrite.child))
        ]
        if not applicable:
            break
        weights = np.array([weight for weight, _ in applicable])
        options = applicable[rng.choice(len(applicable), p=weights / weights.sum())][1]
        rewrite = rewrite.then(options[int(rng.integers(len(options)))])
    return rewrite


def draw_round(
    count: int,
    draw_parent: Callable[[], Candidate],
    mutate: Callable[[Architecture], Rewrite],
    archive: Archive,
    space: SearchSpace,
    max_redraws: int,
) -> list[tuple[Candidate, Rewrite]]:
    """Draw parents and morphisms until a round of children is new and inside the space.

    Args:
        count: children wanted.
        draw_parent: gives a random parent.
        mutate: gives a random rewrite of an architecture.
        archive: knows what has been proposed before.
        space: bounds of the search.
        max_redraws: tries for each child.

    Returns:
        Parents and rewrites to different children; fewer than ``count`` where no new architecture was found.
    """
    drawn: dict[Architecture, tuple[Candidate, Rewrite]] = {}
    for _ in range(count):
        for _ in range(max_redraws):
            parent = draw_parent()
            rewrite = mutate(parent.architecture)
            child = rewrite.child
            if child not in drawn and not archive.contains(child) and child in space:
                drawn[child] = parent, rewrite
                break
        else:
            break
    return list(drawn.values())
