"""Which bounds on cost no architecture can keep, and by how much."""

from typing import TYPE_CHECKING

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture

if TYPE_CHECKING:
    from spnas_core.space.search_space import SearchSpace


def clashes(space: "SearchSpace", like: Architecture) -> tuple[str, ...]:
    """Explain every bound on cost that no architecture of the space keeps; empty where each can be kept.

    Args:
        space: whose bounds on blocks, stages and costs are held against one another.
        like: block type, base channels and stem of the architectures that are asked about; searches keep these.
    """
    smallest = list(_smallest(space, like))
    costs = [backbone_cost(architecture, *space.image_size).as_dict() for architecture in smallest]
    said = []
    for name, limit in space.limits().items():
        found, architecture = min(zip((cost[name] for cost in costs), map(str, smallest), strict=True))
        if limit is not None and found > limit:
            said.append(
                f"no architecture like it keeps max_{name} = {limit:,} beside min_blocks = {space.min_blocks} and "
                f"min_stages = {space.min_stages}: the least of all, {architecture}, has {found:,.0f}"
            )
    return tuple(said)


def _smallest(space: "SearchSpace", like: Architecture) -> list[Architecture]:
    """Return, per number of stages, the architecture of least cost: no channels doubled, resolution dropped early."""
    found = []
    for stages in range(space.min_stages, space.max_stages + 1):
        blocks = max(space.min_blocks, stages)
        if blocks <= space.max_blocks:
            code = ("1",) * (stages - 1) + ("1" * (blocks - stages + 1),)
            found.append(Architecture(like.block, code, like.base, like.stem))
    return found
