"""The task in a worker: as the search has prepared it, or prepared once on this node."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from spnas_core.durable import replace_durably
from spnas_core.errors import DataError
from spnas_core.tasks import Task, data_fingerprint, is_prepared_here
from spnas_search.executors.ray.node_folder import NodeFolder, locked


class ForeignDataError(DataError):
    """Data on a node that is not the search's, or cannot be read there."""


@dataclass(frozen=True)
class TaskOrder:
    """Which task a worker needs.

    Attributes:
        digest: of the pickled task.
        fingerprint: of its data's content.
    """

    digest: str
    fingerprint: str


def prepared_task(
    order: TaskOrder, load: Callable[[], bytes], folder: NodeFolder, report: Callable[[str, int, int], None]
) -> Task:
    """Return the task, ready to evaluate; a process unpickles it once.

    Args:
        order: which.
        load: gives the pickled task of the search.
        folder: of this node.
        report: told how far reading the data is, where it must be read.

    Raises:
        ForeignDataError: the data lies not where the settings have it, or is not the search's.
    """
    if order not in _tasks():
        _tasks()[order] = _prepared(order, load, folder, report)
    return _tasks()[order]


@cache
def _tasks() -> dict[TaskOrder, Task]:
    return {}


def _prepared(
    order: TaskOrder, load: Callable[[], bytes], folder: NodeFolder, report: Callable[[str, int, int], None]
) -> Task:
    task: Task = pickle.loads(load())  # noqa: S301 - from our own search
    if is_prepared_here(task):
        return task
    stored = folder.path / "tasks" / order.digest
    with locked(stored.with_suffix(".lock")):
        if stored.exists():
            kept: Task = pickle.loads(stored.read_bytes())  # noqa: S301 - in a folder that only we may write
            if is_prepared_here(kept):
                return kept
        try:
            task.prepare(folder.path / "cache", report)
        except DataError as error:
            raise ForeignDataError(f"{error}; data must lie on every node where the settings have it") from error
        if (found := data_fingerprint(task)) != order.fingerprint:
            raise ForeignDataError(
                f"its data is not the search's (fingerprint {found or 'none'}, not {order.fingerprint or 'none'}): "
                "copy the data set anew, or put it on a disk that all nodes share"
            )
        temporary = stored.with_suffix(".new")
        temporary.write_bytes(pickle.dumps(task))
        replace_durably(temporary, stored)
    return task
