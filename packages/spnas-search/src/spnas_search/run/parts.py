"""Searches whose children are parts of the start: these keep the bounds, and the start may be larger than that."""

from dataclasses import replace

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.relaxation import Decisions, Logits, Relaxation, best_codes
from spnas_core.space import SearchSpace
from spnas_core.supernets import Parts
from spnas_search.run.latency import LatencyBound


def start_space(space: SearchSpace, start: Architecture) -> SearchSpace:
    """Return what a start is held to whose parts are searched: everything but the bounds on size, which these keep.

    Args:
        space: bounds that are not measured.
        start: the whole.
    """
    blocks = max(space.max_blocks, len(start.digits))
    return replace(space, max_blocks=blocks, max_parameters=None, max_multiply_adds=None, max_activation_bytes=None)


def why_outside(space: SearchSpace, start: Architecture, latency: LatencyBound | None) -> str:
    """Say which bounds a start breaks; empty where it keeps them all.

    Args:
        space: all bounds; those that are measured are asked.
        start: whose parts are searched.
        latency: the bound on latency, which takes the start for its own measure; None for none.
    """
    said = list(space.violations(start))
    if latency is not None and isinstance(latency.limit, str) and float(latency.limit.removesuffix("x")) < 1:
        said.append(f"the start's latency where max_latency = {latency.limit} of it")
    return "; ".join(said)


def check_parts(space: SearchSpace, start: Architecture, relaxation: Relaxation | None) -> None:
    """Refuse a search whose start has no other part that keeps the bounds, before it is trained.

    Args:
        space: bounds that are not measured.
        start: whose parts are searched.
        relaxation: how the choice among them is trained; None where it is not.

    Raises:
        SpaceError: none keeps the bounds, or hardly any.
        ConfigError: there are such parts, and none of them can be chosen.
    """
    Parts(start, space).check()
    if relaxation is None:
        return
    decisions = Decisions(start, relaxation.mixes)
    codes = best_codes(decisions, Logits.drawn(decisions, np.random.default_rng(0)), space, 2)
    if not set(codes) - {start}:
        raise ConfigError(
            f"no part of {start} but itself that the relaxation {relaxation.kind!r} may choose was found inside the "
            "search space: begin with more blocks 1, widen the bounds, or choose relaxation = 'binary'"
        )
