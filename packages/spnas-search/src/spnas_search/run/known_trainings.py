"""Whether a task that answers from trainings done before knows those that a search would ask for."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from spnas_core.errors import ConfigError
from spnas_core.tasks import Task, known_epochs
from spnas_search.settings import RunSettings
from spnas_search.strategies import CheckedStrategy, Phases


def check_trainings(task: Task, settings: RunSettings, strategy: CheckedStrategy, training: int) -> None:
    """Refuse settings that ask a task for trainings that it does not know, before anything is evaluated.

    Args:
        task: of the search; one that trains knows everything.
        settings: of the search.
        strategy: as it is built, so that what its settings leave out is known, too.
        training: epochs that the winner is trained for use; 0 for not at all.

    Raises:
        ConfigError: it says which setting, and what is known.
    """
    known = known_epochs(task)
    if known is None:
        return
    name = task_name(settings)
    if settings.inherit != "none":
        raise ConfigError(f"the task {name!r} knows trainings from fresh weights only: set inherit = 'none'")
    if settings.rungs.epochs:
        raise ConfigError(
            f"rungs.epochs are {list(settings.rungs.epochs)}, and the task {name!r} knows trainings from fresh weights "
            "only, none that went on: leave the rungs out"
        )
    if training and not settings.final.train_fresh:
        raise ConfigError(
            f"final.train_epochs is {training}, and the task {name!r} knows trainings from fresh weights only: leave "
            "it out, or add final.train_fresh = true (--fresh)"
        )
    check_epochs(known, settings, _asked(settings, strategy, training))


def check_epochs(known: Collection[int], settings: RunSettings, asked: Iterable[tuple[str, int]]) -> None:
    """Refuse trainings of other epochs than a task knows.

    Args:
        known: by the task.
        settings: that name it.
        asked: epochs, by the setting or option that asks for them.

    Raises:
        ConfigError: it says which, and what is known.
    """
    if not known:
        raise ConfigError(f"the task {task_name(settings)!r} knows no age at which all of its codes were scored")
    for key, wanted in asked:
        if wanted not in known:
            raise ConfigError(
                f"{key} is {wanted}, and the task {task_name(settings)!r} knows trainings of "
                f"{', '.join(map(str, known))} epochs: choose one of these"
            )


def task_name(settings: RunSettings) -> str:
    """Return under which name the task of a search or study is registered."""
    return str(settings.task.get("name", "detection"))


def _asked(settings: RunSettings, strategy: CheckedStrategy, training: int) -> Iterator[tuple[str, int]]:
    """Yield the epochs of all trainings, by the setting that asks for them."""
    if not isinstance(strategy.wrapped, Phases):
        yield "strategy.epochs", strategy.control_epochs
    for place, table in _tables(strategy):
        yield from _of_table(place, table)
    if settings.final.seeds and settings.final.scratch_epochs is not None:
        yield "final.scratch_epochs", settings.final.scratch_epochs
    if training:
        yield "final.train_epochs", training


def _tables(strategy: CheckedStrategy) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the settings of a strategy, or of all that follow one another, by where they stand; defaults included."""
    if not isinstance(strategy.wrapped, Phases):
        yield "strategy", _plain(strategy.wrapped)
        return
    for number, phase in enumerate(strategy.wrapped.phases):
        if phase.has_children:
            table = _plain(phase.strategy)
            place = f"strategy.phases.{number}" if strategy.name == "phases" else f"strategy.{phase.name}"
            yield place, table


def _plain(strategy: object) -> Mapping[str, Any]:
    found = getattr(strategy, "settings", None)
    return found.model_dump() if isinstance(found, BaseModel) else {}


def _of_table(place: str, table: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the epochs of children, and of some, such as ``swap_epochs``, where 0 stands for ``epochs``."""
    for key, value in table.items():
        is_own = key.endswith("_epochs") or (key == "epochs" and place != "strategy")
        if is_own and isinstance(value, int) and (value or key == "epochs"):
            yield f"{place}.{key}", value
        elif isinstance(value, Mapping) and key != "reignition":
            yield from _of_table(f"{place}.{key}", value)
