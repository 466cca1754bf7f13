"""Drawing a child: a composition of random morphisms that is new and inside the search space."""

from collections.abc import Callable, Mapping

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Morphism, Rewrite, identity
from spnas_core.space import SearchSpace


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


def draw_new_rewrite(
    draw_parent: Callable[[], tuple[int, Architecture]],
    mutate: Callable[[Architecture], Rewrite],
    is_known: Callable[[Architecture], bool],
    space: SearchSpace,
    max_redraws: int,
) -> tuple[int, Rewrite] | None:
    """Redraw parent and morphisms until the child is new and inside the space.

    Args:
        draw_parent: gives a parent's id and architecture.
        mutate: gives a random rewrite of an architecture.
        is_known: says whether an architecture has been proposed before.
        space: bounds of the search.
        max_redraws: tries before giving up.

    Returns:
        The parent's id and the rewrite; None where no new architecture was found.
    """
    for _ in range(max_redraws):
        parent, architecture = draw_parent()
        rewrite = mutate(architecture)
        if not is_known(rewrite.child) and rewrite.child in space:
            return parent, rewrite
    return None
