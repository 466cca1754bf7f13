"""What becomes of an evaluation whose node or worker was lost: pure decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ROUNDING = 1e-6  # three times a third of a GPU is one


@dataclass(frozen=True)
class Node:
    """A node of the cluster that is alive.

    Attributes:
        id: Ray's.
        host: its name, for messages.
        resources: all that it has, by Ray's names.
    """

    id: str
    host: str
    resources: Mapping[str, float]

    def holds(self, wanted: Mapping[str, float]) -> bool:
        """Whether an evaluation that wants so much could ever run there."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in wanted.items())

    def room(self, wanted: Mapping[str, float]) -> int:
        """How many evaluations that want so much each it has room for."""
        shares = [self.resources.get(name, 0.0) / amount for name, amount in wanted.items() if amount > 0]
        return int(min(shares, default=0.0) + _ROUNDING)


@dataclass(frozen=True)
class Loss:
    """An attempt that was lost.

    Attributes:
        how: what Ray says, in one line.
        node: Ray's number of the node; empty where the attempt had not begun.
        host: the node's name; empty where the attempt had not begun.
    """

    how: str
    node: str = ""
    host: str = ""


def failure(losses: Sequence[Loss], retries: int) -> str | None:
    """Say why an evaluation is given up; None where it is to be tried again.

    A loss before it began counts as well: what no node can begin must end.
    """
    if len(losses) <= retries:
        return None
    last = losses[-1]
    where = f" on {last.host}" if last.host else ""
    times = "once" if len(losses) == 1 else f"{len(losses)} times"
    return f"lost {times} with its node or worker, at last{where}: {last.how}"


def elsewhere(nodes: Sequence[Node], losses: Sequence[Loss], wanted: Mapping[str, float]) -> str | None:
    """Choose a node for another attempt.

    Returns:
        The first one, in Ray's order, that holds it and lost no attempt of it; None where there is none: Ray chooses.
    """
    avoided = {loss.node for loss in losses}
    return next((node.id for node in nodes if node.id not in avoided and node.holds(wanted)), None)


def room(nodes: Sequence[Node], wanted: Mapping[str, float]) -> int:
    """How many evaluations the nodes have room for, at the same time."""
    return sum(node.room(wanted) for node in nodes)


def too_small(nodes: Sequence[Node], wanted: Mapping[str, float]) -> str | None:
    """Say that no node could ever hold an evaluation, and what they have; None where one could."""
    if any(node.holds(wanted) for node in nodes):
        return None
    names = {"CPU": "CPU core(s)", "GPU": "GPU(s)", "memory": "GiB of memory"}

    def listed(amounts: Mapping[str, float]) -> str:
        scale = {"memory": 2.0**30}
        return ", ".join(f"{amounts.get(name, 0) / scale.get(name, 1):g} {names.get(name, name)}" for name in wanted)

    have = "; ".join(f"{node.host} {listed(node.resources)}" for node in nodes) or "there is none"
    return (
        f"no node of the Ray cluster has {listed(wanted)} for an evaluation ({have}): lower executor.cpus, "
        "executor.gpus or executor.memory, or add a node"
    )
