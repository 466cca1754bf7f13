"""Codes of a study, each with the way that leads to it from the start.

That is morphism by morphism where the space has what grows from the start, and one rewrite where it has any code.
"""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import MALFORMED, ConfigError, SpaceError
from spnas_core.morphisms import Rewrite, Step, identity, morphism
from spnas_core.space import SearchSpace
from spnas_search.strategies.mutation import DEFAULT_ODDS
from spnas_search.strategies.sampling import sampler_of

MOST_STEPS = 6
"""Morphisms between the start and a code, at most."""

WALKS = 400
"""Walks from the start, whose stops are the codes to choose from."""

DRAWS = 1000
"""Codes to choose from that are drawn where the space has any code."""

_TRIES = 20

Path = tuple[Rewrite, ...]
"""Single rewrites that follow one another, the first from the start; empty for the start itself."""


def draw_paths(
    start: Architecture,
    space: SearchSpace,
    count: int,
    *,
    seed: int,
    known: Sequence[Path] = (),
    most_steps: int = MOST_STEPS,
    walks: int = WALKS,
    draws: int = DRAWS,
) -> tuple[Path, ...]:
    """Draw different codes, the start among them, whose multiply-adds are spread over what the space has to offer.

    Where the space's ``sampling`` is ``"grown"``, many walks apply morphism after morphism, each application as likely
    as the others, without leaving the space; the codes to choose from are those that they pass, each with the shortest
    way that was found. Where it is ``"any"``, they are what ``AnySampler`` draws, as a search draws them, each with one
    rewrite of the start that leads to it: walks would stay near the start, and searches do not.

    The different multiply-adds of these codes are cut into ``count`` parts of equal size, and one code is drawn from
    each part. So cheap codes are there, too, although most walks lead to expensive ones.

    Args:
        start: where the ways begin, and the first code.
        space: bounds that every code on a way keeps, and ``sampling``.
        count: codes wanted, 1 or more.
        seed: of the draws; the same seed gives the same codes.
        known: ways that stay as they are, in front; further ones go where few of them are. A shorter count than there
            are known ones takes the first of these.
        most_steps: longest walk.
        walks: how many.
        draws: how many codes are drawn instead, where they may be any.

    Returns:
        One way per code, that of the start, which is empty, first.

    Raises:
        SpaceError: the start lies outside the space, or fewer codes can be reached.
    """
    space.check(start)
    kept: dict[Architecture, Path] = {path[-1].child if path else start: path for path in (known or ((),))}
    if len(kept) >= count:
        return tuple(kept.values())[:count]
    rng = np.random.default_rng(seed)
    found = _drawn(start, space, draws, rng) if space.sampling == "any" else _walk(start, space, most_steps, walks, rng)
    if len(found) < count:
        raise SpaceError(
            f"only {len(found)} codes inside the space were reached from {start}, and {count} are wanted: ask for "
            "fewer, or widen the space"
        )
    costs = sorted({_multiply_adds(code, space) for code in found})
    first_costs = np.array([part[0] for part in np.array_split(costs, min(count, len(costs)))])

    def part_of(code: Architecture) -> int:
        return max(0, int(np.searchsorted(first_costs, _multiply_adds(code, space), side="right")) - 1)

    free: dict[int, list[Architecture]] = {}
    for code in sorted(found.keys() - kept.keys(), key=str):
        free.setdefault(part_of(code), []).append(code)
    taken = Counter(map(part_of, kept))
    while len(kept) < count:
        part = min((part for part, codes in free.items() if codes), key=lambda part: (taken[part], part))
        code = free[part].pop(int(rng.integers(len(free[part]))))
        kept[code] = found[code]
        taken[part] += 1
    return tuple(kept.values())


def _walk(
    start: Architecture, space: SearchSpace, most_steps: int, walks: int, rng: np.random.Generator
) -> dict[Architecture, Path]:
    """Return the codes that random walks pass, each with the shortest way to it."""
    found: dict[Architecture, Path] = {start: ()}
    for _ in range(walks):
        code = start
        path: Path = ()
        for _ in range(most_steps):
            step = _step(code, space, rng)
            if step is None:
                break
            code, path = step.child, (*path, step)
            if code not in found or len(path) < len(found[code]):
                found[code] = path
            path = found[code]
    return found


def _drawn(start: Architecture, space: SearchSpace, draws: int, rng: np.random.Generator) -> dict[Architecture, Path]:
    """Return the codes inside the space among those that are drawn from all of it, and the start, each with its way."""
    sampler = sampler_of(start, space)
    rewrites = (sampler.draw(rng) for _ in range(draws))
    drawn = {rewrite.child: (rewrite,) for rewrite in rewrites if rewrite.child in space}
    return {**drawn, start: ()}


def _step(code: Architecture, space: SearchSpace, rng: np.random.Generator) -> Rewrite | None:
    """Draw one of all applications of the serial phase's morphisms that stays inside; None where none is found soon."""
    options = [options for name in DEFAULT_ODDS if (options := morphism(name).options(code))]
    ends = np.cumsum([len(one) for one in options])
    for _ in range(_TRIES if options else 0):
        place = int(rng.integers(ends[-1]))
        number = int(np.searchsorted(ends, place, side="right"))
        rewrite = options[number][place - int(ends[number])]  # counted from the end
        if rewrite.child in space:
            return rewrite
    return None


def _multiply_adds(code: Architecture, space: SearchSpace) -> int:
    return backbone_cost(code, *space.image_size).multiply_adds


def composed(start: Architecture, path: Path) -> Rewrite:
    """Return a way as one rewrite of the start."""
    rewrite = identity(start)
    for step in path:
        rewrite = rewrite.then(step)
    return rewrite


def plain_path(path: Path) -> list[str]:
    """Return a way as texts, one per rewrite: parent, child, origin of each block, and the morphisms, as JSON."""
    return [
        json.dumps(
            {
                "parent": str(rewrite.parent),
                "child": str(rewrite.child),
                "block_map": rewrite.block_map,
                "steps": [[step.morphism, step.detail, step.promise] for step in rewrite.steps],
            }
        )
        for rewrite in path
    ]


def read_path(texts: Sequence[str]) -> Path:
    """Read what ``plain_path`` gives.

    Raises:
        ConfigError: it is something else.
    """
    try:
        return tuple(
            Rewrite(
                Architecture.parse(values["parent"]),
                Architecture.parse(values["child"]),
                tuple(values["block_map"]),
                tuple(Step(*step) for step in values["steps"]),
            )
            for values in map(json.loads, texts)
        )
    except MALFORMED as error:
        raise ConfigError(f"the ways to the codes of the study are damaged: {error}") from None
