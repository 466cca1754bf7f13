"""Tasks as they are asked for: made by their plugins, and held to what a search needs of them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas_core.errors import ConfigError, PluginError, suggestion
from spnas_core.plugins import built, is_built_in, owner
from spnas_core.tasks.protocols import MetricSpec, Task

if TYPE_CHECKING:
    from pydantic import BaseModel


def make_task(settings: "BaseModel") -> Task:
    """Have a task made; its data is not read yet.

    Args:
        settings: of the task; their ``name`` is that under which it is registered.

    Raises:
        PluginError: nobody registers the name, its plugin raised, or what it made is no ``Task``.
        SpnasError: a setting that does not go with another.
    """
    name = settings.model_dump()["name"]
    task: Task = built("tasks", name, settings)
    if not is_built_in("tasks", name):
        _check(owner("tasks", name), task)
    return task


def prepare_task(task: Task, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
    """Have a task read its data; see ``Task.prepare``.

    Raises:
        DataError: the data cannot be used.
        PluginError: what came back are no notes.
    """
    notes: object = task.prepare(cache, report)
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        given = f"{type(task).__name__}.prepare returned {notes!r:.80}"
        raise PluginError(f"{given}: it must return a tuple of texts, () where there is nothing to say")
    return tuple(notes)


def objective_of(task: Task, name: str | None) -> MetricSpec:
    """Return the metric of a task that a search or a study ranks by: the first where none is named.

    Raises:
        ConfigError: the task has no such metric.
    """
    metrics = {metric.name: metric for metric in task.metrics}
    if name is None:
        return task.metrics[0]
    if name not in metrics:
        raise ConfigError(f"objective {name!r} is no metric of the task{suggestion(name, metrics)}")
    return metrics[name]


def _check(who: str, task: Any) -> None:
    lacking = [part for part in ("metrics", "image_size", "prepare", "evaluate") if not hasattr(task, part)]
    if lacking:
        raise PluginError(f"{who} makes {type(task).__name__} without {', '.join(lacking)}: it must be a Task")
    for part, value, is_right, wanted in (
        ("metrics", task.metrics, _are_metrics, "a tuple of MetricSpec of different names, one or more"),
        ("image_size", task.image_size, _is_size, "(width, height) in pixels"),
        ("bounds", getattr(task, "bounds", ()), _are_bounds, "a tuple of bounds, each with a method violation"),
        ("known_epochs", getattr(task, "known_epochs", None), _are_epochs, "a tuple of numbers of epochs, or None"),
        ("pretrains", getattr(task, "pretrains", False), _is_claim, "True or False"),
    ):
        if not is_right(value):
            raise PluginError(f"{who} has {part} = {value!r:.80}: it must be {wanted}")


def _are_metrics(value: object) -> bool:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, MetricSpec) for one in value):
        return False
    return len({one.name for one in value}) == len(value)


def _is_size(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value))


def _are_bounds(value: object) -> bool:
    return isinstance(value, list | tuple) and all(callable(getattr(one, "violation", None)) for one in value)


def _are_epochs(value: object) -> bool:
    return value is None or (isinstance(value, list | tuple) and bool(value) and all(map(_is_count, value)))


def _is_claim(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
